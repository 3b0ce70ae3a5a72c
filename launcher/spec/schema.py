"""The JSON Schema of a cluster file, for editors that complete and check as the user types."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, create_model

from launcher.spec.file import Engines
from launcher.spec.keys import written_duration
from launcher.spec.model import ADDRESS_SCHEMA, ClusterSpec

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
PATH = Path(__file__).with_name("cluster.schema.json")  # as it is committed and installed


def json_schema(engines: Engines) -> dict[str, Any]:
    """Return the schema (draft 2020-12), with the short forms that the models take apart before they check."""
    sections: dict[str, Any] = {name: (model | None, _section(model)) for name, model in engines.items() if model}
    model = create_model("ClusterFile", __base__=ClusterSpec, __doc__=ClusterSpec.__doc__, **sections)
    schema = model.model_json_schema()
    definitions = schema["$defs"]
    for job in definitions["Cluster"]["properties"].values():
        job.pop("anyOf")
        job.pop("default")
        job["anyOf"] = [
            {"type": "integer", "minimum": 0},
            {"type": "array", "items": ADDRESS_SCHEMA},
            {"$ref": "#/$defs/JobSpec"},
        ]
    definitions["RunSpec"]["properties"]["on"]["enum"] = list(engines)
    properties = definitions["JobSpec"]["properties"]
    properties["addresses"]["items"] = ADDRESS_SCHEMA
    properties["env"]["additionalProperties"] = {"type": ["string", "number"]}
    for definition in (schema, *definitions.values()):
        if text := definition.get("description"):
            definition["description"] = " ".join(text.replace("``", "").split())
        for key in definition["properties"].values():
            _tidy(key)
    return {"$schema": _DIALECT, "title": "cluster.yaml"} | {key: schema[key] for key in schema if key != "title"}


def _section(model: type[BaseModel]) -> Any:
    """Return the key of an engine's section, with the words and the examples of its model, if that has any."""
    extra = model.model_config.get("json_schema_extra")
    words = (model.__doc__ or "").partition("\n")[0].removesuffix(".")
    description = words[:1].lower() + words[1:] or None
    return Field(None, description=description, examples=extra.get("examples") if isinstance(extra, dict) else None)  # type: ignore[arg-type]


def _tidy(key: dict[str, Any]) -> None:
    """Write a default as a file has it, and leave out null, which stands for keys that are not written."""
    key.pop("title", None)
    if "default" in key:
        key["default"] = _written(key["default"])
        if key["default"] is None:
            del key["default"]
    kinds = [kind for kind in key.get("anyOf", ()) if kind != {"type": "null"}]
    if len(kinds) == 1:
        del key["anyOf"]
        key |= kinds[0]
    elif kinds:
        key["anyOf"] = kinds


def _written(default: Any) -> Any:
    """Return a default as a file has it: durations with their unit, and no keys that are not written."""
    if isinstance(default, dict):
        return {name: _written(value) for name, value in default.items() if value is not None}
    return written_duration(default) if isinstance(default, float) else default
