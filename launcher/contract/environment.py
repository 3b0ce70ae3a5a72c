"""The environment variables and labels by which launchers, containers and tasks know of each other."""

TASK_KEY = "LAUNCHER_TASK"  # the TaskContext of a task, as JSON
TASK_LABEL = "launcher.task"  # of a container: the task that it runs

READY_FILE_KEY = "LAUNCHER_READY_FILE"  # for a launcher: the file that exists while its tasks are ready

# What a launcher reads if it runs in a container; each stands for an option.
SET_KEY = "LAUNCHER_SET"  # --set, a KEY=VALUE a line
RUN_KEY = "LAUNCHER_RUN"  # --run
DIRECTORY_KEY = "LAUNCHER_DIRECTORY"  # --directory
USER_KEY = "LAUNCHER_USER"  # for compose alone: UID:GID that the containers run as
