"""What the tasks of a launcher prove to each other, by who starts the others."""

from __future__ import annotations

import time

from launcher.engines.local.run import LocalRun
from launcher.engines.run_key import shared_token
from tests.unit.engines.local.conftest import MakeLaunch


def key_of(launch: LocalRun) -> str:
    return launch._token


def test_a_launcher_that_starts_all_tasks_makes_a_new_key_each_time(make_launch: MakeLaunch) -> None:
    keys = {key_of(make_launch("ready", workers=2)[0]) for _ in range(3)}
    assert len(keys) == 3
    assert all(len(key) == 64 for key in keys)


def test_launchers_of_parts_have_the_same_digest_and_say_who_could_join(make_launch: MakeLaunch) -> None:
    launch, _, screen = make_launch("ready", workers=2, only="worker:0")
    assert key_of(launch) == shared_token(launch._plan)
    launch.run("the headline")
    assert [note for note in screen.notes if "could join this run" in note]


def test_launchers_of_parts_with_a_key_have_that_key(make_launch: MakeLaunch) -> None:
    launch, files, screen = make_launch("ready", workers=2, only="worker:0")
    command = launch._command
    given = LocalRun(
        launch._plan,
        launch.addresses.tasks.values(),
        files,
        screen,
        network="host",
        began=time.monotonic(),
        command=command,
        key="k" * 32,
    )
    assert key_of(given) == "k" * 32
    given.run("the headline")
    assert not [note for note in screen.notes if "could join this run" in note]
