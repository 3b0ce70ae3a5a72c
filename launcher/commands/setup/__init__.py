"""The verbs that set up files and examine machines."""
