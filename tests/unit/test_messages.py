from __future__ import annotations

from tests.messages import ROOT, table


def test_the_table_of_messages_shows_every_message_as_it_is() -> None:
    kept = (ROOT / "tests" / "messages.txt").read_text(encoding="utf-8")
    assert kept == table(), (
        "a message has changed: python -m tests.messages > tests/messages.txt, and read the difference"
    )
