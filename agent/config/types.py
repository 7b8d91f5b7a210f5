"""Kinds of values that the configuration models are made of."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    Tag,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from agent.config.units import SizeBytes, parse_size

TEXT, LIST, MAPPING = "<text>", "<list>", "<mapping>"
TAGS = (TEXT, LIST, MAPPING, "[key]")
"""Steps in the location of a pydantic error that are no keys of the file."""


def wrong(text: str, *at: str | int) -> PydanticCustomError:
    """A problem to raise in a validator: a predicate without the value, at a place further down."""
    return PydanticCustomError("tocsin", "{text}", {"text": text, "at": at})


class Section(BaseModel):
    """A section of the file: frozen, without unknown keys; one that is left empty is all defaults.

    `Field(default_factory=str)` together with `x-default` marks what depends on something outside
    the section, and is filled in by the whole `Config`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        return {} if value is None else value


@dataclass(frozen=True)
class Text:
    """Annotation of a string that must match a pattern as a whole."""

    pattern: str
    wrong: str  # predicate for what does not match
    kind: str  # for the manual

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check after the string itself."""
        return core_schema.no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The pattern, anchored."""
        return {"type": "string", "x-kind": self.kind, "pattern": f"^({self.pattern})$"}

    def check(self, value: str) -> str:
        """The value itself, if it matches."""
        if not re.fullmatch(self.pattern, value):
            raise wrong(self.wrong)
        return value


def _not_boolean(value: object) -> object:
    if isinstance(value, bool):  # which Python would take for 0 or 1
        raise wrong("is not a number")
    return value


def _not_empty(value: SecretStr) -> SecretStr:
    if not value.get_secret_value():
        raise wrong("is empty")
    return value


def _token(value: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[A-Za-z0-9._~+/-]+=*", value.get_secret_value()):
        raise wrong("is no bearer token: use letters, digits and -._~+/, with = at its end alone")
    return value


def _scalar(value: object) -> object:
    if not isinstance(value, str | int | float) or value == "":
        raise wrong("is not a single value: write text, a number, true or false")
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong("is not a finite number")
    return value


def _resolved(value: object, info: ValidationInfo) -> object:
    """A path as it is from where the file stands."""
    if value == "" or (isinstance(value, str) and "\0" in value):
        raise wrong("is not a path")
    folder = (info.context or {}).get("folder")
    return folder / value if folder is not None and isinstance(value, str) else value


def _shape(value: object) -> str | None:
    if isinstance(value, str):
        return TEXT
    if isinstance(value, list | tuple):
        return LIST
    return MAPPING if isinstance(value, Mapping) else None


def _choice(text: str) -> Discriminator:
    """Chooses a branch by shape, so that only the errors of that branch are told."""
    return Discriminator(_shape, "tocsin", text, {"text": text})


# Constraints stand before the validator: only so do they reach the JSON Schema.
Number = Annotated[float, Field(allow_inf_nan=False), BeforeValidator(_not_boolean)]
PositiveNumber = Annotated[float, Field(gt=0, allow_inf_nan=False), BeforeValidator(_not_boolean)]
Probability = Annotated[
    float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_not_boolean)
]
OpenProbability = Annotated[
    float, Field(gt=0, lt=1, allow_inf_nan=False), BeforeValidator(_not_boolean)
]
Count = Annotated[int, Field(ge=1), BeforeValidator(_not_boolean)]
Port = Annotated[int, Field(ge=0, le=65535), BeforeValidator(_not_boolean)]
Scalar = Annotated[
    str | int | float | bool,
    PlainValidator(_scalar),
    WithJsonSchema(
        {"type": ["string", "number", "boolean"], "x-kind": "text, number, true or false"}
    ),
]
FilePath = Annotated[
    Path,
    BeforeValidator(_resolved),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "x-kind": "path"}),
]
Secret = Annotated[SecretStr, AfterValidator(_not_empty)]
Token = Annotated[SecretStr, AfterValidator(_token)]
UserName = Annotated[str, Text(r"[^:\x00-\x1f]+", "is no user name: use no ':' in it", "user name")]
TokenUrl = Annotated[
    str,
    Text(
        r"https://[^\s/?#@]+([/?][^\s#]*)?|http://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?([/?][^\s#]*)?",
        "is no address of a token endpoint: write https://host/path",
        "URL",
    ),
]
Name = Annotated[str, Text(r"(.|\n)+", "is empty", "text")]
ModelName = Annotated[
    str,
    Text(
        r"[A-Za-z0-9_.-]{1,200}",
        "is no name for a model: use letters, digits, '_', '.' and '-'",
        "name",
    ),
]
Topic = Annotated[
    str,
    Text(
        r"(?!\.\.?$)[A-Za-z0-9_.-]{1,249}",
        "is no name for a Kafka topic: use letters, digits, '_', '.' and '-'",
        "topic",
    ),
]
Server = Annotated[
    str,
    Text(
        r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]+)(:[0-9]{1,5})?",
        "is not the address of a broker: write host:port",
        "host:port",
    ),
]
ColumnPath = Annotated[
    str,
    Text(r"[^.]+(\.[^.]+)*", "is not a dotted path: write a name or outer.inner", "dotted path"),
]
MetricName = Annotated[
    str,
    Text(
        r"[a-z][a-z0-9_]*",
        "is no name for a metric: use lower case, digits and '_'",
        "name of a metric",
    ),
]
RiverName = Annotated[
    str,
    Text(
        r"(drift|anomaly)(\.[A-Za-z_][A-Za-z0-9_]*){1,2}",
        "is not a detector of river: write drift.ADWIN or anomaly.HalfSpaceTrees",
        "class of river",
    ),
]
ColumnPaths = Annotated[
    Annotated[ColumnPath, Tag(TEXT)] | Annotated[tuple[ColumnPath, ...], Tag(LIST)],
    _choice("is neither a path nor a list of paths"),
]
ClassPaths = Annotated[
    Annotated[ColumnPath, Tag(TEXT)] | Annotated[Mapping[Name, ColumnPath], Tag(MAPPING)],
    _choice("is neither a path nor a mapping of class to path"),
]


def _ascending(edges: tuple[float, ...]) -> tuple[float, ...]:
    if not edges or list(edges) != sorted(set(edges)):
        raise wrong("must ascend, each edge once: write [25, 40, 60]")
    return edges


Edges = Annotated[tuple[Number, ...], AfterValidator(_ascending)]
SegmentBy = Annotated[
    Annotated[Name, Tag(TEXT)] | Annotated[Mapping[Name, Edges], Tag(MAPPING)],
    _choice("is neither a column nor {column: [edges]}"),
]


def _enough(size: int) -> int:
    if size < parse_size("1MB"):
        raise wrong("is too small: write 1MB or more")
    return size


Memory = Annotated[SizeBytes, AfterValidator(_enough)]
