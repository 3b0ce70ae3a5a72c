"""Two versions that meet say so in a sentence."""

from __future__ import annotations

import pytest

from launcher import __version__
from launcher.contract.version import PROTOCOL, mismatch, own_version


def test_the_same_protocol_is_no_mismatch_whatever_the_launcher_s_version() -> None:
    assert mismatch("worker:1", "worker:0", own_version()) == ""
    assert mismatch("worker:1", "worker:0", {"version": PROTOCOL, "launcher": "9.9"}) == ""


@pytest.mark.parametrize(
    ("message", "theirs"),
    [
        ({}, f"an older launcher (before protocol {PROTOCOL})"),
        ({"version": 9, "launcher": "7.8.9"}, "launcher 7.8.9 (protocol 9)"),
        ({"version": "x" * 99, "launcher": "y" * 99}, f"launcher {'y' * 20} (protocol {'x' * 20})"),
    ],
)
def test_another_protocol_is_named_beside_the_own_one(message: dict[str, object], theirs: str) -> None:
    own = f"worker:0 runs launcher {__version__} (protocol {PROTOCOL})"
    sentence = f"worker:1 runs {theirs}, {own}: install the same version on every machine"
    assert mismatch("worker:1", "worker:0", message) == sentence
