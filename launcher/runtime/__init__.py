"""Inside a task: the only part of the launcher that imports TensorFlow."""
