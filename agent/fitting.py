"""What a configuration makes of a profile: which detectors watch it, and whether the two agree."""

from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches

from agent.config import ModelConfig, RiverConfig
from agent.errors import UsageError
from agent.intake.values import canonical
from detectors.batch import Schema
from detectors.cells import Column, InputCells
from detectors.evidence import Detector, Severity, Stream
from detectors.labels.coverage import LabelCoverage
from detectors.labels.delay import LabelDelay
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
    if profile.traffic is not None:
        profile = replace(profile, traffic=profile.traffic.in_panes(pane))
    detectors: list[Detector] = default_detectors(profile, cells)
    detectors += [LabelDelay(int(config.feedback.horizon)), LabelCoverage()]
    detectors += river_detectors(name, config, rates, pane, detectors, cells)
    names = {known for d in detectors for known in (d.stream.detector, d.stream.target)}
    if unknown := sorted(set(config.detectors.weights) - names):
        raise UsageError(
            f"models.{name}.detectors.weights: no detector or target {unknown[0]!r}: "
            f"there are {', '.join(sorted(names))}"
        )
    return detectors


def river_detectors(
    name: str,
    config: ModelConfig,
    rates: dict[Severity, float],
    pane: int,
    others: list[Detector],
    cells: InputCells,
) -> list[Detector]:
    """Detectors of the river library that the configuration names."""
    if not config.river:
        return []
    from detectors.drift.river import SAMPLE, RiverDetector

    where, weights = f"models.{name}.river", config.detectors.weights
    columns = [_river_column(where, entry, config, cells) for entry in config.river]
    streams = [
        RiverDetector(entry.detector, column).stream
        for entry, column in zip(config.river, columns, strict=True)
    ]
    made: list[Detector] = []
    for entry, column, stream in zip(config.river, columns, streams, strict=True):
        if sum((s.detector, s.target) == (stream.detector, stream.target) for s in streams) > 1:
            raise UsageError(f"{where}: {entry.detector} on {entry.on} is named twice")
        all_streams = [*(d.stream for d in others), *streams]
        shared = sum(_weight(weights, s) for s in all_streams if s.severity == stream.severity)
        # What the stream may spend in the shortest time there can be between two panes.
        most = rates[stream.severity] * pane * _weight(weights, stream) / shared / SAMPLE
        probability = _river_probability(where, entry, most)
        detector = RiverDetector(entry.detector, column, probability, entry.params)
        try:
            detector.build()
        except (TypeError, ValueError) as error:
            raise UsageError(f"{where}: {entry.detector} refuses its params: {error}") from None
        made.append(detector)
    return made


def _river_column(
    where: str, entry: RiverConfig, config: ModelConfig, cells: InputCells
) -> Column | None:
    """What a detector of river watches, None for the errors; UsageError where it cannot."""
    from detectors.drift.river import KINDS

    kind = KINDS.get(entry.detector)
    if kind is None:
        raise UsageError(
            f"{where}: {entry.detector} is not supported: there are {', '.join(KINDS)}"
        )
    if kind.binary and (entry.on != "error" or config.task == "regression"):
        raise UsageError(
            f"{where}: {entry.detector} watches right and wrong: only `on: error` of a classifier"
        )
    if entry.on == "error":
        return None
    columns = {c.name: c for c in cells.columns[:-1] if c.numeric is not None}
    if entry.on not in columns:
        near = get_close_matches(entry.on, columns, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(columns) or 'none'}"
        raise UsageError(f"{where}: no numeric column {entry.on!r} to watch: {hint}")
    return columns[entry.on]


def _river_probability(where: str, entry: RiverConfig, most: float) -> float:
    """Of a false alarm at a step; `most` is what the budget has for one."""
    from detectors.drift.river import KINDS

    kind, stated = KINDS[entry.detector], entry.false_alarm_probability
    if kind.has_p:
        if stated is not None:
            raise UsageError(
                f"{where}: {entry.detector} has p-values of its own: leave out "
                "false_alarm_probability"
            )
        return 1.0
    if kind.promises in entry.params:
        raise UsageError(
            f"{where}: {kind.promises} follows from the alert budget: remove it from params, or "
            "state false_alarm_probability"
        )
    if stated is None and not kind.promises:
        raise UsageError(
            f"{where}: {entry.detector} promises nothing of its false alarms: state "
            f"false_alarm_probability, that of a step; the budget has {most:.2g} for one"
        )
    if stated is not None and stated > most:
        raise UsageError(
            f"{where}: false_alarm_probability {stated:g} is more than the budget has for a "
            f"step ({most:.2g}), so that it could never ring: "
            + ("leave it out" if kind.promises else "set its params to something stricter")
        )
    # A little less, so that an alarm of its is one of ours whatever the rounding.
    return stated or 0.99 * most


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
    _check_protected(name, config, schema)
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


def _check_protected(name: str, config: ModelConfig, schema: Schema) -> None:
    where, again = f"models.{name}.protected", "make it again with `tocsin profile`"
    categorical = [f.name for f in schema.categorical]
    for attribute in config.compared():
        if attribute in {f.name for f in schema.numeric}:
            raise UsageError(f"{where}: {attribute} is numeric in the profile, not categorical")
        if attribute not in categorical:
            near = get_close_matches(attribute, categorical, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(categorical)}"
            raise UsageError(f"{where}: the profile has no feature {attribute!r}: {hint}")
    if schema.protected != config.compared():
        made = f"with {', '.join(schema.protected)}" if schema.protected else "without any"
        raise UsageError(f"{where}: the profile was made {made}: {again}")
