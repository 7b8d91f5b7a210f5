"""What a configuration makes of a profile: which detectors watch it, and whether the two agree."""

from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from agent.config import ModelConfig
from agent.errors import UsageError
from agent.intake.values import canonical
from detectors.cells import InputCells
from detectors.evidence import Detector, Severity, Stream
from detectors.profile import Profile
from detectors.registry import default_detectors


def detectors_of(
    name: str,
    config: ModelConfig,
    profile: Profile,
    cells: InputCells,
    rates: dict[Severity, float],
    pane: int,
) -> list[Detector]:
    """All detectors of a model. UsageError where the configuration asks for what there is not.

    `rates` are the false alarms tolerated per millisecond, `pane` the width of a pane in them.
    """
    detectors: list[Detector] = default_detectors(profile, cells)
    detectors += river_detectors(name, config, rates, pane, detectors)
    names = {known for d in detectors for known in (d.stream.detector, d.stream.target)}
    if unknown := sorted(set(config.detectors.weights) - names):
        raise UsageError(
            f"models.{name}.detectors.weights: no detector or target {unknown[0]!r}: "
            f"there are {', '.join(sorted(names))}"
        )
    return detectors


def river_detectors(
    name: str, config: ModelConfig, rates: dict[Severity, float], pane: int, others: list[Detector]
) -> Iterator[Detector]:
    """Detectors of the river library that the configuration names."""
    weights = config.detectors.weights
    pages = sum(_weight(weights, d.stream) for d in others if d.stream.severity == "page")
    for entry in config.river:
        from detectors.drift.river import SAMPLE, RiverAdwin

        where = f"models.{name}.river"
        if (entry.detector, entry.on) != ("drift.ADWIN", "error"):
            raise UsageError(
                f"{where}: {entry.detector} on {entry.on} is not supported yet: "
                "write detector: drift.ADWIN, on: error"
            )
        if "delta" in entry.params:
            raise UsageError(
                f"{where}: delta follows from the alert budget: remove it from params, or state "
                "false_alarm_probability"
            )
        # What the stream may spend in the shortest time there can be between two panes.
        own = _weight(weights, RiverAdwin(0.5).stream)
        most = rates["page"] * pane * own / (pages + own * len(config.river)) / SAMPLE
        stated = entry.false_alarm_probability
        if stated is not None and stated > most:
            raise UsageError(
                f"{where}: false_alarm_probability {stated:g} is more than the budget has for a "
                f"step ({most:.2g}), so that it could never ring: leave it out"
            )
        # A little less, so that a cut is worth an alarm whatever the rounding.
        yield RiverAdwin(stated or 0.99 * most, entry.params)


def _weight(weights: Mapping[str, float], stream: Stream) -> float:
    return weights.get(stream.detector, 1.0) * weights.get(stream.target, 1.0)


def check_profile(name: str, config: ModelConfig, profile: Profile) -> None:
    """UsageError where profile and configuration contradict each other."""
    schema, again = profile.schema, "make it again with `tocsin profile`"
    if schema.task != config.task:
        raise UsageError(
            f"models.{name}: the profile was made for {schema.task}, the task is {config.task}: "
            f"{again}"
        )
    if config.task == "binary":
        if schema.classes[1] != canonical(config.positive):
            raise UsageError(
                f"models.{name}.positive: the profile was made for {schema.classes[1]!r}: {again}"
            )
        if schema.threshold != config.threshold:
            raise UsageError(
                f"models.{name}.threshold: the profile was made for {schema.threshold:g}: {again}"
            )
    kinds = {f.name: "numeric" for f in schema.numeric}
    kinds |= {f.name: "categorical" for f in schema.categorical}
    for feature, settings in config.features.items():
        where = f"models.{name}.features.{feature}"
        if settings.ignore:
            if feature in kinds:
                raise UsageError(f"{where}: is to be ignored, but in the profile: {again}")
        elif feature not in kinds:
            near = get_close_matches(feature, kinds, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(kinds)}"
            raise UsageError(f"{where}: the profile has no such feature: {hint}")
        elif settings.type not in (None, kinds[feature]):
            raise UsageError(f"{where}.type: it is {kinds[feature]} in the profile: {again}")
