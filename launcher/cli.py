"""The verbs; each verb's module is imported only when it is called, so that help answers at once."""

from __future__ import annotations

import io
import os
import sys
from importlib import import_module

import click

from launcher import __version__
from launcher.commands.groups import Group
from launcher.errors import LauncherError
from launcher.terminal.printing import say

_COMPLETE = "_LAUNCHER_COMPLETE"  # in the environment while a shell asks click what may follow

VERBS = {
    "run": "Start the cluster, train the job on it, and leave a run directory.",
    "plan": "Show what would start where, and what would not, and why.",
    "render": "Write the cluster as a compose file, a container for each task.",
    "check": "Check the cluster file, then what this machine must offer.",
    "config": "Read and edit the cluster file, its comments kept.",
    "doctor": "Find out what does not work on this machine, and what to do about it.",
}
_TRAIN = ("run", "plan", "check")  # the verbs of commands/train; the others are in commands/setup


class Verbs(Group):
    """A group that knows its verbs by name and imports one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs, in the order of use."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the verb's module and return its command."""
        if cmd_name not in VERBS:
            return None
        room = "train" if cmd_name in _TRAIN else "setup"
        command: click.Command = import_module(f"launcher.commands.{room}.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]}, subcommand_metavar="VERB [ARGS]...")
@click.version_option(__version__, prog_name="launcher")
def launcher() -> None:
    """Start real TensorFlow clusters from one file, cluster.yaml.

    \b
    Examples:
      launcher run                        train what cluster.yaml says, on this machine
      launcher run --set mode=async       the same file, asynchronously
      launcher plan                       what would start where
    """


def _open_streams() -> None:
    """Let standard input, output and error be /dev/null where they were closed (``>&-``).

    Otherwise the next file or socket gets the number, and is written to by whoever prints, or closed in a child.
    """
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def main() -> None:
    """Run the command line; a user's mistake ends in a sentence and an exit code, never in a traceback."""
    _open_streams()
    if _COMPLETE in os.environ:
        import_module("launcher.commands.shells")
    try:
        sys.exit(launcher.main(prog_name="launcher", standalone_mode=False))
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        _show(error)
        sys.exit(2)
    except LauncherError as error:
        for sentence in error.sentences:
            say(sentence, err=True)
        sys.exit(error.exit_code)
    except UnicodeEncodeError as error:
        character = ascii(error.object[error.start : error.start + 1])
        say(f"the output is {error.encoding}, which has no {character}; set PYTHONIOENCODING=utf-8", err=True)
        sys.exit(1)
    except OSError as error:  # a full disk or a closed pipe, and nothing below could handle it
        say(f"{error.filename or 'the output'}: {error.strerror or error}", err=True)
        sys.exit(1)


def _show(error: click.ClickException) -> None:
    """Show a usage error as click does, its message in one paragraph."""
    said = io.StringIO()
    error.show(said)
    usage, mark, message = said.getvalue().rstrip("\n").partition("Error: ")
    for line in usage.splitlines():
        say(line, err=True)
    say(mark, message, err=True)
