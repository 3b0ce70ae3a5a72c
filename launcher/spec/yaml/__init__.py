"""Cluster files as YAML: read with the place of each value, and written so that they read back equal."""
