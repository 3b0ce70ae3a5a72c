"""``python -m tests.messages > tests/messages.txt``: every text that a user may see, file by file.

Taken from the code without running it: each string of at least two words that is no docstring, and the docstrings that
are help of a command. What a message fills in stands in braces. A change of a message so shows in review.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PROSE = re.compile(r"[A-Za-z}\])'\"…:,;)%] +[A-Za-z{\[('\"…]")
_HAS_A_WORD = re.compile(r"[A-Za-z]{2}")
Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def table() -> str:
    """Return the table: each file, and under it its texts in the order of the code."""
    parts = []
    for path in sorted([*(ROOT / "launcher").rglob("*.py"), *(ROOT / "jobs").rglob("*.py")]):
        texts = dict.fromkeys(_texts(ast.parse(path.read_text(encoding="utf-8"))))
        if texts and path.name != "shells.py":  # which holds programs for shells
            lines = (text.rstrip().replace("\n", "\n    ") for text in texts)
            parts.append("\n".join([str(path.relative_to(ROOT)), *(f"  {line}" for line in lines)]))
    return re.sub(r"[ \t]+$", "", "\n\n".join(parts), flags=re.MULTILINE) + "\n"


def _texts(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.JoinedStr | ast.Constant):
        text = _written(node)
        if _PROSE.search(text) and _HAS_A_WORD.search(text):
            yield text
        return
    if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("re."):
        return  # a pattern is for the machine
    children = list(ast.iter_child_nodes(node))
    if isinstance(node, Definition) and (docstring := ast.get_docstring(node, clean=False)) is not None:
        own = next(child for child in children if child is node.body[0])
        children.remove(own)
        if _is_command(node):
            yield inspect.cleandoc(docstring).replace("\b\n", "")
    for child in children:
        yield from _texts(child)


def _is_command(node: Definition) -> bool:
    """Whether click shows the docstring of this function as help."""
    decorators = [] if isinstance(node, ast.Module) else node.decorator_list
    names = [ast.unparse(one.func if isinstance(one, ast.Call) else one) for one in decorators]
    return any(name in ("click.command", "click.group", "verb") for name in names)


def _written(node: ast.JoinedStr | ast.Constant) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value) if isinstance(node.value, str) else ""
    return "".join(_part(value) for value in node.values)


def _part(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.FormattedValue)
    return f"{{{_name(node.value)}}}"


def _name(node: ast.expr) -> str:
    """Return a short name of what stands in braces, the same in every version of Python."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=function):
            return _name(function)
        case ast.Constant(value=str(value)):
            return value
        case ast.IfExp(body=ast.Constant(value=str(yes)), orelse=ast.Constant(value=str(no))):
            return f"{yes}|{no}"
    return "…"


if __name__ == "__main__":
    print(table(), end="")
