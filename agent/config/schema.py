"""What the configuration models say about themselves: JSON Schema, and the table of the manual."""

import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import SchemaSerializer, core_schema

from agent.config.root import Config

Schema = dict[str, Any]

_NULL = {"type": "null"}


class _Generator(GenerateJsonSchema):
    """Pydantic's schema, with defaults as they are written in a file and without empty titles."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        """Leave titles such as "Group Id" for `group_id`."""
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        """Write a default as `5m`, not as its milliseconds."""
        result = super().default_schema(schema)
        if "default" in result:
            serializer = SchemaSerializer(schema["schema"])
            result["default"] = serializer.to_python(schema["default"], mode="json")
        return result

    def dict_schema(self, schema: core_schema.DictSchema) -> Schema:
        """Refuse names that do not match the pattern of names."""
        result = super().dict_schema(schema)
        if "patternProperties" in result:
            result["additionalProperties"] = False
        return result


@cache
def _schema() -> Schema:
    schema = Config.model_json_schema(schema_generator=_Generator)
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": "Tocsin configuration"}


def json_schema() -> Schema:
    """JSON Schema (draft 2020-12) of the configuration file, for editors."""
    schema: Schema = _without_notes(_schema())
    return schema


def _without_notes(value: Any) -> Any:
    """A copy without the `x-` members, which are for the manual."""
    if isinstance(value, dict):
        return {k: _without_notes(v) for k, v in value.items() if not k.startswith("x-")}
    return [_without_notes(item) for item in value] if isinstance(value, list) else value


def known_keys(path: tuple[str | int, ...]) -> tuple[str, ...]:
    """Keys of the section that a path of keys and indices leads to; none where it is not one."""
    return tuple(_at(path).get("properties", ()))


def expected(path: tuple[str | int, ...]) -> str:
    """What belongs at a path, in words: `one of binary, multiclass, regression`."""
    schema = _at(path)
    kind = _kind(schema).replace("`", "")
    return f"one of {kind}" if "enum" in schema else kind


def is_secret(path: tuple[str | int, ...]) -> bool:
    """Whether a path leads to a secret, or to a section that has one."""
    schema = _at(path)
    inside = schema.get("properties", {}).values()
    return any(_follow(part).get("format") == "password" for part in (schema, *inside))


def _at(path: tuple[str | int, ...]) -> Schema:
    schema = _follow(_schema())
    for part in path:
        schema = _follow(schema.get("properties", {}).get(part) or _inside(schema) or {})
    return schema


def documentation() -> str:
    """Markdown table of every key: key, type, default, description."""
    lines = ["| key | type | default | what it is |", "| --- | --- | --- | --- |"]
    for key, schema, required in _rows(_follow(_schema()), ""):
        default = "**required**" if required else _default(schema)
        what = schema.get("description") or _follow(schema).get("description", "")
        kind = _kind(schema).replace("|", "\\|")
        lines.append(f"| `{key}` | {kind} | {default} | {what} |")
    return "\n".join(lines) + "\n"


def _rows(section: Schema, prefix: str) -> Iterator[tuple[str, Schema, bool]]:
    for name, schema in section.get("properties", {}).items():
        key = f"{prefix}{name}"
        yield key, schema, name in section.get("required", ())
        inner = _follow(schema)
        if "properties" in inner:
            yield from _rows(inner, f"{key}.")
        elif (element := _inside(inner)) is not None:
            step = "[]" if inner.get("type") == "array" else ".NAME"
            yield from _rows(_follow(element), f"{key}{step}.")


def _follow(schema: Schema) -> Schema:
    """The schema that a reference, or a choice between something and null, stands for."""
    if "$ref" in schema:
        target: Schema = _schema()["$defs"][schema["$ref"].rpartition("/")[2]]
        return _follow(target)
    choices = [s for s in schema.get("anyOf", ()) if s != _NULL]
    return _follow(choices[0]) if len(choices) == 1 else schema


def _inside(schema: Schema) -> Schema | None:
    """The schema of a list's elements or of an open mapping's values."""
    for inner in (
        schema.get("items"),
        *schema.get("patternProperties", {}).values(),
        schema.get("additionalProperties"),
    ):
        if isinstance(inner, dict):
            return inner
    return None


def _kind(schema: Schema) -> str:
    """A type as a reader would say it."""
    schema = _follow(schema)
    choices = [s for s in (*schema.get("oneOf", ()), *schema.get("anyOf", ())) if s != _NULL]
    if choices:
        return " or ".join(_kind(choice) for choice in choices)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "properties" in schema:
        return "section"
    inner = _inside(schema)
    if inner is not None and schema.get("type") == "array":
        return f"list of {_kind(inner)}"
    if inner is not None:
        return f"mapping of name to {_kind(inner)}"
    return str(schema.get("x-kind", _NAMES.get(str(schema.get("type")), "scalar")))


_NAMES = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
}


def _default(schema: Schema) -> str:
    if "x-default" in schema:
        return str(schema["x-default"])
    default = schema.get("default")
    if default is None or default in ([], {}):  # nothing, or a section with its own rows
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{item}`" for item in default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def refresh(manual: str) -> str:
    """A manual with the table between its two markers replaced by that of today."""
    begin, end = "begin -->\n", "<!-- generated from the configuration models: end -->"
    before, after = manual.split(begin)[0], manual.split(end)[1]
    return f"{before}{begin}{documentation()}{end}{after}"


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(refresh(path.read_text()))
