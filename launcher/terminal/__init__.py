"""What is shown: the live line, tables, the map of devices."""
