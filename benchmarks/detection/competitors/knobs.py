"""One parameter of a competitor, and how a strictness in [0, 1] maps to it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.detection.field import Competitor, Rule
from benchmarks.detection.streams import Floats


@dataclass(frozen=True, slots=True)
class Knob:
    """A parameter by name; `value` rises in strictness with its argument, 0 to 1."""

    name: str
    value: Callable[[float], float]

    def text(self, strictness: float) -> str:
        """The parameter as a table shows it."""
        return f"{self.name} {self.value(strictness):.2g}"


def scale(name: str, low: float, high: float) -> Knob:
    """A limit between these, by factors."""
    return Knob(name, lambda s: float(low * (high / low) ** s))


def level(name: str, most: float = 0.9) -> Knob:
    """A level of significance from `most` down to 1e-100, ever faster."""
    first = np.log10(-np.log10(most))
    return Knob(name, lambda s: float(10.0 ** -(10.0 ** (first + (2.0 - first) * s))))


def competitor(
    name: str, rule: Callable[[Floats, float | None], Rule], knob: Knob, **limits: Any
) -> Competitor:
    """A competitor whose rule follows from a reference and the knob's value; None: its default."""
    return Competitor(
        name,
        lambda reference: rule(reference, None),
        tunable=lambda reference, strictness: rule(reference, knob.value(strictness)),
        parameter=knob.text,
        **limits,
    )
