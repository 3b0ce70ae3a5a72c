"""A member whose checkpoint is damaged, arrives damaged, or takes its time."""

from __future__ import annotations

import pytest

from launcher.errors import LauncherError
from launcher.runtime.checkpoint import progress
from tests.unit.runtime.rendezvous.meeting import Answering, Place, prepare, result, save


def test_a_member_with_a_damaged_copy_sets_it_aside_and_asks_for_the_leaders(
    place: Place, answering: Answering
) -> None:
    saved = save(place.files("worker:1"), 7, a=b"content")
    (saved.directory / "a").write_bytes(b"cantent")
    meeting = answering.come()
    leader = answering.accept(prepare(saved.offer().to_dict()))
    assert leader.hear() == {"lacks": True}
    leader.say(b"content")
    leader.hear_until("prepared")
    leader.say({"go": True})
    assert result(meeting).step == 7
    assert (saved.directory / "a").read_bytes() == b"content"
    assert (saved.directory.parent / f"damaged-{saved.directory.name}" / "a").read_bytes() == b"cantent"


def test_files_that_arrive_with_other_content_than_was_written_are_no_checkpoint(
    place: Place, answering: Answering
) -> None:
    saved = save(place.files("worker:0"), 7, a=b"content")
    meeting = answering.come()
    answering.accept(prepare(saved.offer().to_dict()), b"cantent")
    with pytest.raises(LauncherError, match=r"^a of the checkpoint arrived with other content than was written$"):
        result(meeting)
    assert place.files("worker:1").saved() == []


def test_a_member_says_how_far_it_is_with_a_checkpoint_and_is_given_the_time_for_it(
    place: Place, answering: Answering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "SAY_EVERY", 0.0)
    saved = save(place.files("worker:1"), 7, a=b"x" * (3 << 20))
    meeting = answering.come(seconds=5.0)
    leader = answering.accept(prepare(saved.offer().to_dict()))
    said = [leader.hear() for _ in range(4)]
    assert said == [
        *({"busy": f"verifying checkpoint step-7: {mib}.0 of 3.0 MiB"} for mib in (1, 2, 3)),
        {"prepared": True},
    ]
    leader.say({"go": True})
    result(meeting)
