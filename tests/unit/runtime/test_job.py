"""A batch's shares, and what a job does that overrides nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.runtime.job import Job, Shard
from tests.unit.runtime.conftest import task_context


@pytest.mark.parametrize(
    ("batch", "count", "sizes"),
    [(17, 3, [6, 6, 5]), (17, 5, [4, 4, 3, 3, 3]), (17, 1, [17]), (4, 2, [2, 2]), (2, 3, [1, 1, 0])],
)
def test_a_batch_is_shared_as_evenly_as_possible(batch: int, count: int, sizes: list[int]) -> None:
    rows = [Shard(index, count).rows(batch) for index in range(count)]
    assert [share.stop - share.start for share in rows] == sizes


def test_a_shard_is_the_whole_batch_by_default() -> None:
    assert Shard().rows(17) == slice(0, 17)


@given(st.integers(0, 10_000), st.integers(1, 200))
def test_shares_cover_the_batch_in_order_without_overlap_and_differ_by_at_most_one(batch: int, count: int) -> None:
    shares = [range(batch)[Shard(index, count).rows(batch)] for index in range(count)]
    assert [row for share in shares for row in share] == list(range(batch))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_job_that_trains_and_cannot_says_what_it_lacks() -> None:
    class Half(Job):
        steps = 3

    job = Half(None, task_context())
    with pytest.raises(NotImplementedError, match=r"Half trains 3 steps and has no dataset\(\)"):
        job.dataset(Shard())
    with pytest.raises(NotImplementedError, match=r"Half trains 3 steps and has no train_step\(\)"):
        job.train_step(None)


def test_a_report_is_described_by_its_step_and_its_numbers() -> None:
    job = Job(None, task_context())
    job.steps = 9
    assert job.describe({"step": 3, "epoch": 1, "cost": 0.5, "W": [1.0]}) == "step 3/9  cost=0.5"
