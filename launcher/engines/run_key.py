"""The key of a run whose tasks several launchers start: each proves to the others that it has it."""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
from pathlib import Path

from launcher.contract.environment import KEY_KEY, KEY_SUFFIX
from launcher.errors import UsageError
from launcher.plan.plan import Plan

_SHORTEST = 32  # characters; new keys have 64
_LONGEST = 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def new_key() -> str:
    """Return a key that nobody can guess."""
    return secrets.token_hex(32)


def shared_token(plan: Plan) -> str:
    """Return what tells this cluster file from every other, for launchers that share nothing but the file."""
    return hashlib.sha256(plan.spec.model_dump_json(exclude={"run"}).encode()).hexdigest()


def key_beside(file: Path) -> Path:
    """Return the place of a cluster file's key."""
    return file.with_name(file.name + KEY_SUFFIX)


def find_key(file: Path) -> str:
    """Return the key of LAUNCHER_KEY, or that beside the cluster file; empty if there is none.

    UsageError for a key that others can read, that belongs to another user, or that is too short.
    """
    if key := os.environ.get(KEY_KEY, "").strip():
        return _checked(key, KEY_KEY)
    place = key_beside(file)
    try:
        with place.open(encoding="utf-8") as opened:
            _refuse_others(os.fstat(opened.fileno()), place)
            return _checked(opened.read(_LONGEST + 1).strip(), str(place))
    except FileNotFoundError:
        return ""
    except UnicodeDecodeError:
        raise UsageError(f"{place}: this is no key; remove it, and make one: launcher config key") from None
    except OSError as error:
        raise UsageError(f"{place}: the key cannot be read: {error.strerror}") from None


def _refuse_others(status: os.stat_result, place: Path) -> None:
    if status.st_uid != os.geteuid():  # who may read it all the same is root
        raise UsageError(
            f"{place}: this key belongs to another user (uid {status.st_uid}), and the launcher runs as uid "
            f"{os.geteuid()}; chown {os.geteuid()} {place} if it is yours, or make another: launcher config key"
        )
    if status.st_mode & _OTHERS:
        raise UsageError(
            f"{place}: other users can read or write this key (mode {stat.S_IMODE(status.st_mode):04o}); "
            f"chmod 600 {place}, or make another: launcher config key"
        )


def write_key(file: Path) -> Path:
    """Write a new key beside a cluster file, for its owner alone; UsageError if it cannot be, or is there."""
    place = key_beside(file)
    try:
        # Whole or not at all: it appears under its name with its content.
        draft = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
        draft.touch(mode=0o600, exist_ok=False)
        try:
            draft.write_text(new_key() + "\n", encoding="utf-8")
            os.link(draft, place)
        finally:
            draft.unlink()
    except FileExistsError:
        raise UsageError(f"{place} is there already; remove it on every machine before you make another") from None
    except OSError as error:
        raise UsageError(f"{place}: the key cannot be written: {error.strerror}") from None
    return place


def _checked(key: str, where: str) -> str:
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise UsageError(
            f"{where}: a key has {_SHORTEST} to {_LONGEST} characters, and this one {len(key)}; "
            "launcher config key makes one"
        )
    return key
