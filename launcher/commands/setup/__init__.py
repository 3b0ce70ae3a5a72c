"""The verbs that set up files and look at machines."""
