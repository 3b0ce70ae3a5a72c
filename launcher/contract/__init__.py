"""What the launcher and its tasks exchange; pure data that needs only Python, and pydantic to read a job's args."""
