"""What launcher and task tell each other; nothing here needs more than Python and pydantic."""
