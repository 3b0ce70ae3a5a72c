"""A network of its own for a run: its namespace, and the way out of it."""
