"""The tasks of a cluster meet before TensorFlow starts, and leave together."""
