"""A path that is given to the launcher to write to: of this machine's file systems, and what it says."""

from __future__ import annotations

import re
from pathlib import Path

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):/")


def mounted_path(text: str) -> str:
    """Return the path, with the home directory for ``~``; ValueError if a file system cannot have it as it is meant."""
    if found := _SCHEME.match(text):
        if found[1].lower() == "file":
            raise ValueError(f"{text!r} is a URL; write the path alone")
        raise ValueError(
            f"{text!r} is not on a mounted file system; a run needs locks and renames, which {found[1]}:// does not "
            "have; write a path, and let the job copy what it makes"
        )
    if "$" in text:
        raise ValueError(f"{text!r} has a variable, which nothing fills in here; write the path itself")
    try:
        return str(Path(text).expanduser()) if text.startswith("~") else text
    except RuntimeError:
        raise ValueError(f"{text!r} begins with nobody's home directory; write ./{text} if that is its name") from None
