"""What starts a Plan's tasks somewhere."""
