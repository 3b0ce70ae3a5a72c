"""A cluster file becomes a ClusterSpec, with every problem at once: no processes, no TensorFlow."""
