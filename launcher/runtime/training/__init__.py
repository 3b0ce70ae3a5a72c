"""Strategy, devices, server and Trainer."""
