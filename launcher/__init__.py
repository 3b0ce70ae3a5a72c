"""A launcher for real TensorFlow clusters: one file describes the cluster, one command runs it."""

__version__ = "0.1.0"
