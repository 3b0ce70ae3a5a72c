"""Plain data becomes YAML text that reads back equal: by ``parser``, and by readers of YAML 1.1 and 1.2."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from yaml.resolver import Resolver

from launcher.spec.yaml.parser import resolve

_WORDS = re.compile(r"\w[\w./@+-]*(?:[ :][\w./@+-]+)*")  # what needs no quotes, neither in a block nor inside [] and {}
_OCTAL = re.compile(r"0o[0-7]+")  # a number in YAML 1.2 only
_LONGEST_KEY = 1000  # a key without a "? " before it has at most 1024 characters
_SHORT = {"\n": "\\n", "\t": "\\t", '"': '\\"', "\\": "\\\\"}
_RESOLVER: Any = Resolver()  # what PyYAML, and so YAML 1.1, takes an unquoted word for
_TEXT = "tag:yaml.org,2002:str"


def document(data: Mapping[str, Any]) -> str:
    """Return a mapping as a document, a line for each value that is not a mapping itself."""
    return "".join(f"{line}\n" for line in _lines(data, "")) or "{}\n"


def in_one_line(value: Any) -> str:
    """Return plain data as text that is valid anywhere."""
    match value:
        case Mapping():
            return f"{{{', '.join(_pair(key, inner) for key, inner in value.items())}}}"
        case list() | tuple():
            return f"[{', '.join(map(in_one_line, value))}]"
        case str():
            return value if _is_plain(value) else quoted(value)
        case float() if not math.isfinite(value):
            return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    return json.dumps(value)


def quoted(text: str) -> str:
    """Return the text in YAML's double quotes, with every character that is not plain to see written as a number."""
    plain = (char if char.isprintable() and char not in '"\\' else _number(char) for char in text)
    return f'"{"".join(plain)}"'


def _number(char: str) -> str:
    return _SHORT.get(char) or f"\\U{ord(char):08x}"


def _lines(data: Mapping[str, Any], indentation: str) -> Iterator[str]:
    for key, value in data.items():
        written = in_one_line(key)
        if len(written) > _LONGEST_KEY:
            yield f"{indentation}? {written}"
            yield f"{indentation}: {in_one_line(value)}"
        elif isinstance(value, Mapping) and value:
            yield f"{indentation}{written}:"
            yield from _lines(value, f"{indentation}  ")
        else:
            yield f"{indentation}{written}: {in_one_line(value)}"


def _pair(key: str, value: Any) -> str:
    written = in_one_line(key)
    return f"{f'? {written} ' if len(written) > _LONGEST_KEY else written}: {in_one_line(value)}"


def _is_plain(text: str) -> bool:
    """Whether the text without quotes is the same text to every reader."""
    if not _WORDS.fullmatch(text) or _OCTAL.fullmatch(text) or resolve(text) != text:
        return False
    return bool(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) == _TEXT)
