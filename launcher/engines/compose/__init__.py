"""Tasks as containers of this machine, with docker compose."""
