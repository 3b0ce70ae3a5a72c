"""The environment variables that a launcher reads where it runs in a container: each stands for an option."""

SET_KEY = "LAUNCHER_SET"  # --set, a KEY=VALUE a line
RUN_KEY = "LAUNCHER_RUN"  # --run
DIRECTORY_KEY = "LAUNCHER_DIRECTORY"  # --directory
USER_KEY = "LAUNCHER_USER"  # for compose alone: UID:GID that the containers run as
