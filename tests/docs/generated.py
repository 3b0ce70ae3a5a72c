"""What is generated in docs/: the tables of keys in configuration.md, from the JSON Schema, and terminal.svg.

Write both again after a change of a key or of the screen: ``python -m tests.docs.generated``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml

from tests.docs.pages import ROOT, asked
from tests.docs.terminal import picture

CONFIGURATION = ROOT / "docs" / "configuration.md"
PICTURE = ROOT / "docs" / "terminal.svg"
_TABLES = re.compile(r"(?<=<!-- begin: generated from the schema -->\n).*(?=<!-- end: generated -->)", re.DOTALL)
_JOB = "JobSpec"  # what every job of `cluster` has: shown once, after the other keys


def configuration() -> str:
    """Return docs/configuration.md with its tables as the schema has the keys now."""
    tables = "\n".join(_tables(json.loads(asked("config", "schema"))))
    page, places = _TABLES.subn(lambda _: f"{tables}\n", CONFIGURATION.read_text())
    assert places == 1, f"{CONFIGURATION} has lost the comments around its tables"
    return page


def _tables(schema: Mapping[str, Any]) -> Iterator[str]:
    yield from _table(_keys(schema, schema), schema["required"])
    yield "Each job of `cluster`, written as a mapping, has these keys:"
    yield from _table(_keys(schema, schema["$defs"][_JOB]))


def _keys(schema: Mapping[str, Any], model: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every dotted key of a model with its schema, but those of a job of the cluster."""
    for name, key in model["properties"].items():
        yield prefix + name, key
        for inner in _models(key):
            yield from _keys(schema, schema["$defs"][inner], f"{prefix}{name}.")


def _models(key: Mapping[str, Any]) -> list[str]:
    return [name for name in re.findall(r'"#/\$defs/(\w+)"', json.dumps(key)) if name != _JOB]


def _table(keys: Iterator[tuple[str, Any]], required: Collection[str] = ()) -> Iterator[str]:
    yield from ("", "| key | meaning | default | allowed, or examples |", "|---|---|---|---|")
    for name, key in keys:
        default = "required" if name in required else _shown(key.get("default", "")) if not _models(key) else ""
        examples = ", ".join(_shown(value) for value in key.get("enum", key["examples"]))
        yield f"| `{name}` | {key['description']} | {default} | {examples} |".replace("|  |", "| |")
    yield ""


def _shown(value: object) -> str:
    """Return a value as a cluster file has it, in one line; nothing for an empty one."""
    text = yaml.safe_dump(value, default_flow_style=True, width=1000, sort_keys=False).partition("\n")[0]
    return f"`{text}`" if value not in ("", [], {}) else ""


if __name__ == "__main__":
    CONFIGURATION.write_text(configuration())
    PICTURE.write_text(picture())
