"""``--set KEY=VALUE``: one key of a cluster file changed for one call."""

from __future__ import annotations

from dataclasses import replace

from launcher.contract.faults import type_name
from launcher.contract.task import JOBS
from launcher.errors import Problem, SpecError
from launcher.spec.yaml_nodes import Node, parse


def apply(root: Node, override: str) -> Node:
    """Return the tree with the key of ``key=value`` set; SpecError where it cannot be."""
    # An argument may be bytes of any kind; what is printed is text.
    printable = override.encode(errors="backslashreplace").decode()
    where = f"--set {printable}"
    key, text = printable.partition("=")[0], override.partition("=")[2]
    parts = key.strip().split(".")
    if "=" not in override or not all(parts):
        raise SpecError([Problem(where, "", "write KEY=VALUE with a dotted key, like cluster.worker.tasks=3")])
    value, problems = parse(text, lambda _: where)
    if problems:
        raise SpecError(problems)
    return _put(root, parts, 0, replace(value or Node(None, where), where=where))


def expand(node: Node) -> Node:
    """Return a job of the cluster as a mapping, whichever short form it was written in."""
    if isinstance(node.value, list):
        return Node({"addresses": node}, node.where)
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return Node({"tasks": node}, node.where)
    return node


def expand_jobs(root: Node) -> Node:
    """Return the tree with every job of the cluster written as a mapping."""
    cluster = root.child("cluster")
    if cluster is None or not isinstance(cluster.value, dict):
        return root
    jobs = {name: expand(node) if name in JOBS else node for name, node in cluster.value.items()}
    return replace(root, value=root.value | {"cluster": replace(cluster, value=jobs)})


def _put(node: Node, parts: list[str], depth: int, value: Node) -> Node:
    if depth == len(parts):
        return value
    node = expand(node) if depth == 2 and parts[0] == "cluster" and parts[1] in JOBS else node
    # The parts of a tree that a key leads through keep the lines on which they stand.
    key = parts[depth]
    if isinstance(node.value, list):
        index = _index(node, parts, depth, value)
        items = list(node.value)
        items[index] = _put(items[index], parts, depth + 1, value)
        return replace(node, value=items)
    if node.value is not None and not isinstance(node.value, dict):
        message = f"is {type_name(node.value)}, not a mapping; {key!r} cannot be set inside it"
        raise SpecError([Problem(value.where, ".".join(parts[:depth]), message)])
    children = node.value or {}
    child = children.get(key, Node(None, value.where))
    return replace(node, value=children | {key: _put(child, parts, depth + 1, value)})


def _index(node: Node, parts: list[str], depth: int, value: Node) -> int:
    count = len(node.value)
    if parts[depth].isdecimal() and int(parts[depth]) < count:
        return int(parts[depth])
    raise SpecError([Problem(value.where, ".".join(parts[:depth]), f"is a list of {count}; its keys count from 0")])
