"""The table of roles, and who may be missing."""

from __future__ import annotations

import json

import pytest

from launcher.contract.roles import ROLES, Quorum, Role
from launcher.contract.task import JOBS, Task

FIRST, SECOND, THIRD = (Task("worker", index) for index in range(3))


def test_every_job_has_a_role_in_some_mode_and_every_role_is_played() -> None:
    played = {(job, role) for roles in ROLES.values() for job, role in roles.items()}
    assert {job for job, _ in played} == set(JOBS)
    assert {role for _, role in played} == set(Role)


def test_a_role_is_written_by_its_name() -> None:
    assert json.loads(json.dumps({"role": Role.COMPUTE})) == {"role": "compute"}
    assert Role("compute") is Role.COMPUTE


def test_serving_does_not_mean_computing() -> None:
    assert {role for role in Role if role.serves} == {Role.COMPUTE, Role.SERVE}
    assert {role for role in Role if role.computes_gradients} == {Role.TRAIN, Role.COMPUTE}


def test_each_mode_has_a_role_whose_end_ends_the_run() -> None:
    assert all(any(role.ends_run for role in roles.values()) for roles in ROLES.values())


@pytest.mark.parametrize(
    ("fewest", "missing", "holds"),
    [
        (0, (SECOND,), False),
        (2, (SECOND,), True),
        (2, (SECOND, THIRD), False),
        (1, (SECOND, THIRD), True),
        (1, (FIRST,), False),
        (1, (Task("ps", 0),), False),
        (1, (), True),
    ],
)
def test_workers_may_be_missing_down_to_the_fewest_and_never_the_leader(
    fewest: int, missing: tuple[Task, ...], *, holds: bool
) -> None:
    assert Quorum.of([FIRST, SECOND, THIRD, Task("ps", 0)], fewest, FIRST).holds_without(missing) is holds
