"""Why an alarm rang: which features changed too, and which segments the errors came from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent.publish.snapshot import Contributor
from detectors.evidence import Stream

if TYPE_CHECKING:
    from agent.detection import Happening
    from agent.model import Model
    from detectors.sketch import Counts

MOST = 5  # of either sort
# Detectors and targets of what changed inputs explain.
NOT_INPUTS = {
    "calibration", "selection_gap", "error_gap", "opportunity_gap",
    "joint", "error", "traffic", "label_delay", "label_coverage",
}  # fmt: skip
NOTABLE = 6.0  # nats from which evidence is worth naming: less is gathered by chance now and then
ENOUGH = 100  # joined rows of a segment before the onset, to know its usual loss


def features(stream: Stream, happening: Happening) -> tuple[Contributor, ...]:
    """Targets, or parts of them, by the evidence that they changed too, ranked.

    A share is that of the evidence of all that changed.
    """
    changed: dict[str, float] = {}
    for (detector, target), nats in happening.gathered.items():
        if NOT_INPUTS.isdisjoint((detector, target)) and nats >= NOTABLE:
            changed[target] = max(changed.get(target, 0.0), nats)
    whole = sum(changed.values())
    ranked = sorted(changed.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Contributor(target, nats / whole) for target, nats in ranked[:MOST])


def segments(model: Model, since: Counts, total: Counts) -> tuple[Contributor, ...]:
    """Segments by the loss that they have had beyond their usual one since the onset, ranked.

    Loss is the number of errors, or the sum of absolute errors of a regression; usual is a
    segment's own mean before the onset, or that of all rows where it had fewer than ENOUGH. A share
    is that of the excess of all values of the same feature; a segment with less than its part of
    the rows is not named.

    Parameters
    ----------
    since, total
        Performance cells since the onset, and since the model has been watched.
    """
    size = model.performance.size
    before = total[:size] - since[:size]
    overall = _loss(model, before, 0)
    excess: dict[str, dict[str, tuple[float, float]]] = {}  # feature, segment: excess, rows
    for number, version, segment in model.groups.names():
        if version != "all" or segment == "all":
            continue
        rows, loss = _loss(model, since[:size], number)
        known, lost = _loss(model, before, number)
        if known < ENOUGH:
            known, lost = overall
        if rows and known:
            feature = segment.partition("=")[0]
            over = max(loss - rows * lost / known, 0.0)
            excess.setdefault(feature, {})[segment] = over, rows
    found = []
    for feature, parts in excess.items():
        whole, rows = (sum(p[i] for p in parts.values()) for i in (0, 1))
        for segment, (over, own) in parts.items():
            if whole and over / whole > own / rows:
                found.append(Contributor(feature, over / whole, segment))
    return tuple(sorted(found, key=lambda c: (-c.share, c.segment))[:MOST])


def _loss(model: Model, counts: Counts, number: int) -> tuple[float, float]:
    """Rows of a group, and their loss."""
    metrics = model.performance.metrics(model.performance.group(counts, number))
    rows = metrics["count"]
    if not rows:
        return 0.0, 0.0
    loss = metrics.get("mean_absolute_error")
    return rows, rows * (1.0 - metrics["accuracy"] if loss is None else loss)
