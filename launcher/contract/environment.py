"""The environment variables and labels with which launchers, containers and tasks identify each other."""

TASK_KEY = "LAUNCHER_TASK"  # the TaskContext of a task, as JSON, or the path of a file with it
TASK_LABEL = "launcher.task"  # of a container: the task that it runs

KEY_KEY = "LAUNCHER_KEY"  # for a launcher: the key that the tasks of all launchers of a run prove to have
KEY_SUFFIX = ".key"  # of the file beside the cluster file that holds it, if the variable does not

READY_FILE_KEY = "LAUNCHER_READY_FILE"  # for a launcher: the file that exists while its tasks are ready

# Read by a launcher in a container; each takes the place of an option.
SET_KEY = "LAUNCHER_SET"  # --set, one KEY=VALUE a line
RUN_KEY = "LAUNCHER_RUN"  # --run
DIRECTORY_KEY = "LAUNCHER_DIRECTORY"  # --directory
USER_KEY = "LAUNCHER_USER"  # read by compose only: UID:GID that the containers run as
