"""States, progress, restarts and the first cause of a run: pure, over events."""
