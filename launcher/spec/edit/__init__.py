"""Changes of a cluster file's text that keep every other byte."""
