"""From a budget's ring to the alarm a person reads: what, since when, how bad, why, what to do."""

from __future__ import annotations

import hashlib
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agent.publish.snapshot import Alarm, Contributor, Effect
from detectors import measures
from detectors.budget import Clear, Ring
from detectors.cells import Column
from detectors.evidence import Stream

if TYPE_CHECKING:
    from agent.detection import Happening
    from agent.model import Model
    from detectors.sketch import Counts

CONTRIBUTORS = 5
NOT_INPUTS = {"error_rate", "error_size", "adwin", "silence"}  # what changed inputs explain
NOTABLE = 3.0  # nats from which a stream's evidence is worth naming
CLEARED_KEPT = 20

# kind -> what to do first. Each has a runbook of the same name in docs/runbooks.
ACTIONS = {
    "drift": "Compare the input with its source: did the population change, or the pipeline that "
    "feeds it? If the change is real, check accuracy and plan a retraining.",
    "missing": "Find the upstream step that stopped filling this feature.",
    "invalid": "Find the producer that changed this feature's type or unit.",
    "unseen": "Look at the new categories: a new product or region, or a changed spelling?",
    "schema": "The feature is mostly unusable: roll back the producer's last change.",
    "accuracy": "The model errs more than when it was approved: roll back to the last good "
    "version or retrain; look at the drifted features first.",
    "silence": "No predictions arrive: check the service, its producer and the topic.",
}


class AlarmBook:
    """Standing and passed alarms of one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.standing: dict[tuple[str, int], Alarm] = {}  # severity and stream number
        self.cleared: deque[Alarm] = deque(maxlen=CLEARED_KEPT)
        self.history: list[Alarm] = []

    def record(self, happening: Happening) -> Alarm:
        """The alarm raised, or the one that has cleared (`cleared_at` set)."""
        what = happening.what
        key = (happening.severity, what.stream)
        if isinstance(what, Clear):
            alarm = replace(self.standing.pop(key), cleared_at=what.time)
            self.cleared.appendleft(alarm)
            return alarm
        alarm = self._raised(happening, what)
        self.standing[key] = alarm
        self.history.append(alarm)
        self._model.counters.alarms[alarm.kind, alarm.severity] += 1
        return alarm

    def _raised(self, happening: Happening, ring: Ring) -> Alarm:
        model, severity = self._model, happening.severity
        stream = model.detection.budgets[severity].streams[ring.stream]
        counts = self._since(ring.onset, ring.time)
        return Alarm(
            id=stable_id(model.name, stream.detector, stream.target, severity, ring.time),
            model=model.name,
            version=self._version(counts),
            kind=stream.kind,
            detector=stream.detector,
            target=stream.target,
            severity=severity,
            raised_at=ring.time,
            onset=ring.onset,
            onset_earliest=ring.onset,
            onset_latest=max(ring.onset, ring.onset_latest),
            effect=self._effect(stream, ring, counts),
            evidence=ring.evidence,
            budget=str(getattr(model.settings.alerts, severity)),
            contributors=_contributors(stream, happening),
            profile=model.profile_hash,
            configuration=model.settings.hash,
            recommended_action=ACTIONS[stream.kind],
            runbook=f"docs/runbooks/{stream.kind}.md",
        )

    def _version(self, counts: Counts) -> str:
        """The version that made most of the predictions."""
        seen = counts[self._model.first_version_cell :]
        most = np.flatnonzero((seen == seen.max()) & (seen > 0)).tolist()
        return min((self._model.versions.name(code) for code in most), default="")

    def _effect(self, stream: Stream, ring: Ring, counts: Counts) -> Effect:
        """Size of the change, from what has come since the onset."""
        if stream.kind == "accuracy":
            return self._error_effect(counts)
        if stream.kind == "silence":
            return Effect("silent_seconds", (ring.time - ring.onset) / 1000, 0.0)
        column = self._model.cells.column(stream.target)
        current = counts[column.start : column.stop]
        if stream.kind == "drift":
            reference = reference_counts(column)
            known = column.known + ("unseen" in column.extra)
            return Effect("psi", measures.psi(reference[:known], current[:known]), 0.0)
        events = {"schema": ("missing", "invalid")}.get(stream.kind, (stream.kind,))
        cells = [column.cell(e) - column.start for e in events]
        reference = reference_counts(column)
        return Effect(
            f"{stream.kind}_ratio",
            float(current[cells].sum() / max(current.sum(), 1)),
            float(reference[cells].sum() / max(reference.sum(), 1)),
        )

    def _error_effect(self, counts: Counts) -> Effect:
        error = self._model.profile.error
        assert error is not None
        current = counts[self._model.pane_cells.sections["errors"]]
        reference = np.array(error.counts)
        if error.edges:
            now, then = (_median(np.array(error.edges), c) for c in (current, reference))
            return Effect("median_absolute_error", now, then)
        now, then = (float(c[1] / max(c.sum(), 1)) for c in (current, reference))
        return Effect("error_rate", now, then)

    def _since(self, onset: int, time: int) -> Counts:
        """Cells since the onset, from the shortest window that reaches back to it."""
        pane, windows = self._model.pane, list(self._model.detected.values())
        reaching = [w for w in windows if w.span * pane >= time - onset]
        return (reaching[0] if reaching else windows[-1]).since(onset // pane)


def _contributors(stream: Stream, happening: Happening) -> tuple[Contributor, ...]:
    """Targets by the evidence that they changed too, ranked."""
    changed: dict[str, float] = {}
    for (detector, target), nats in happening.gathered.items():
        if detector not in NOT_INPUTS and nats >= NOTABLE:
            changed[target] = max(changed.get(target, 0.0), nats)
    whole = sum(changed.values())
    ranked = sorted(changed.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Contributor(target, nats / whole) for target, nats in ranked[:CONTRIBUTORS])


def _median(edges: NDArray[np.float64], counts: Counts) -> float:
    """Upper edge of the bin that holds the median."""
    bin_number = int(np.searchsorted(np.cumsum(counts), counts.sum() / 2))
    return float(edges[min(bin_number, len(edges) - 1)])


def stable_id(*parts: object) -> str:
    """An id that says the same for the same parts, in every process."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()[:32]


def reference_counts(column: Column) -> Counts:
    """The profile's counts of a column in the order of its cells."""
    part = column.numeric or column.categorical
    assert part is not None
    extra = [getattr(part, name) for name in column.extra]
    return np.array([*part.counts, *extra], dtype=np.int64)
