"""What is asked and where it goes: no processes, no sockets, no TensorFlow."""
