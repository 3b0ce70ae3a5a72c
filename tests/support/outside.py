"""An address of this machine that is in no network of a run: what is outside, as far as tests may go."""

from __future__ import annotations

import socket

import pytest


def outward_address() -> str:
    """Return the address by which this machine is known outside; skips if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.200", 9))  # sends nothing
        except OSError as error:
            pytest.skip(f"this machine has no way out itself: {error}")
        address: str = probe.getsockname()[0]
        return address
