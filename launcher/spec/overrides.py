"""``--set KEY=VALUE``: one key of a cluster file changed for one call."""

from __future__ import annotations

from dataclasses import replace

from launcher.contract.faults import type_name
from launcher.contract.task import JOBS
from launcher.errors import Problem, SpecError
from launcher.spec.plain import Keys
from launcher.spec.yaml.nodes import Node
from launcher.spec.yaml.parser import parse
from launcher.text import printable, whole_number


def apply(root: Node, override: str) -> Node:
    """Return the tree with the key of ``key=value`` set; SpecError if it cannot be."""
    where = f"--set {printable(override)}"
    key, text = printable(override).partition("=")[0], override.partition("=")[2]
    parts = key.strip().split(".")
    if "=" not in override or not all(parts):
        raise SpecError([Problem(where, "", "write KEY=VALUE with a dotted key, like cluster.worker.tasks=3")])
    value, problems = parse(text, lambda _: where)
    if problems:
        raise SpecError(problems)
    return set_node(root, parts, replace(value or Node(None, where), where=where))


def expand(node: Node) -> Node:
    """Return a job of the cluster as a mapping, whichever short form it was written in."""
    if isinstance(node.value, list):
        return Node({"addresses": node}, node.where)
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        return Node({"tasks": node}, node.where)
    return node


def keep_typed_env(root: Node) -> Node:
    """Return the tree with the numbers of each job's ``env`` as the text that was typed: ``08`` and ``1e3`` stay so."""
    cluster = root.child("cluster")
    if cluster is None or not isinstance(cluster.value, dict):
        return root
    jobs = {name: _with_typed_env(node) for name, node in cluster.value.items()}
    return replace(root, value=root.value | {"cluster": replace(cluster, value=jobs)})


def _with_typed_env(job: Node) -> Node:
    env = job.child("env")
    if env is None or not isinstance(env.value, dict):
        return job
    typed = {name: _as_typed(node) for name, node in env.value.items()}
    return replace(job, value=job.value | {"env": replace(env, value=typed)})


def _as_typed(node: Node) -> Node:
    is_number = isinstance(node.value, int | float) and not isinstance(node.value, bool)
    return replace(node, value=node.typed) if is_number and node.typed is not None else node


def expand_jobs(root: Node) -> Node:
    """Return the tree with every job of the cluster written as a mapping."""
    cluster = root.child("cluster")
    if cluster is None or not isinstance(cluster.value, dict):
        return root
    jobs = {name: expand(node) if name in JOBS else node for name, node in cluster.value.items()}
    return replace(root, value=root.value | {"cluster": replace(cluster, value=jobs)})


def is_job(keys: Keys, depth: int) -> bool:
    """Whether the key at that depth is a job of the cluster, which has short forms."""
    return depth == 2 and keys[0] == "cluster" and keys[1] in JOBS


def set_node(node: Node, keys: Keys, value: Node, depth: int = 0) -> Node:
    """Return the tree with a value at the keys, some of which may not exist yet; SpecError if it cannot be set."""
    if depth == len(keys):
        return value
    node = expand(node) if is_job(keys, depth) else node
    # The parents of the changed key keep their own places.
    key = keys[depth]
    if isinstance(node.value, list):
        index = _index(node, keys, depth, value)
        items = list(node.value)
        items[index] = set_node(items[index], keys, value, depth + 1)
        return replace(node, value=items)
    if node.value is not None and not isinstance(node.value, dict):
        message = f"is {type_name(node.value)}, not a mapping; {key!r} cannot be set inside it"
        raise SpecError([Problem(value.where, ".".join(keys[:depth]), message)])
    children = node.value or {}
    child = children.get(key, Node(None, value.where))
    return replace(node, value=children | {key: set_node(child, keys, value, depth + 1)})


def _index(node: Node, keys: Keys, depth: int, value: Node) -> int:
    count, index = len(node.value), whole_number(keys[depth])
    if index is not None and index < count:
        return index
    raise SpecError([Problem(value.where, ".".join(keys[:depth]), f"is a list of {count}; its keys count from 0")])
