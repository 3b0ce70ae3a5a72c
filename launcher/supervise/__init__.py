"""The processes of this host: no TensorFlow in the launcher's own process."""
