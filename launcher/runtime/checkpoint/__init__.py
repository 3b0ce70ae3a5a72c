"""Checkpoints: files that are whole or absent, and what is written and read by TensorFlow."""
