"""Where values stand in a record or a file, as far as intake needs to know."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from agent.intake.values import canonical

Path = tuple[str, ...]


class Fields(Protocol):
    """Dotted paths of a model's members; the `fields` section of the configuration has this shape.

    `scores` is the path of an object, or a path for each class; `features` the path of an object,
    or a list of paths, each of which is then also the feature's name.
    """

    @property
    def id(self) -> str: ...
    @property
    def time(self) -> str: ...
    @property
    def version(self) -> str: ...
    @property
    def prediction(self) -> str: ...
    @property
    def score(self) -> str: ...
    @property
    def scores(self) -> str | Mapping[str, str]: ...
    @property
    def latency_ms(self) -> str: ...
    @property
    def features(self) -> str | Sequence[str]: ...
    @property
    def label(self) -> str: ...
    @property
    def feedback_id(self) -> str: ...
    @property
    def feedback_time(self) -> str: ...
    @property
    def model(self) -> str: ...


@dataclass(frozen=True, slots=True)
class DefaultFields:
    """The default layout, to be overridden member by member."""

    id: str = "id"
    time: str = "timestamp"
    version: str = "version"
    prediction: str = "prediction"
    score: str = "score"
    scores: str | Mapping[str, str] = "scores"
    latency_ms: str = "latency_ms"
    features: str | Sequence[str] = "features"
    label: str = "label"
    feedback_id: str = "id"
    feedback_time: str = "timestamp"
    model: str = "model"


@dataclass(frozen=True, slots=True)
class Slot:
    """One value of a record: its path in an object, and the names its column may have in a table.

    A table's column is called like the dotted path; a feature's column may also be called like
    the feature alone, which then comes first.
    """

    path: Path
    names: tuple[str, ...]

    @classmethod
    def at(cls, dotted: str) -> "Slot":
        """The value at a dotted path."""
        return cls(tuple(dotted.split(".")), (dotted,))


def feature_slot(fields: Fields, name: str) -> Slot:
    """Where the feature of that name stands."""
    if not isinstance(fields.features, str):
        return Slot.at(name)
    prefix = tuple(fields.features.split(".")) if fields.features else ()
    path = (*prefix, name)
    return Slot(path, (name, ".".join(path)))


def score_slots(fields: Fields, classes: Sequence[str]) -> list[Slot]:
    """Where the probability of each class stands; an empty path where none is configured."""
    if isinstance(fields.scores, str):
        prefix = tuple(fields.scores.split("."))
        return [Slot((*prefix, c), (".".join((*prefix, c)),)) for c in classes]
    paths = {canonical(name): path for name, path in fields.scores.items()}
    return [Slot.at(paths[c]) if c in paths else Slot((), ()) for c in classes]
