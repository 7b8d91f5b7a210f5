"""From a budget's ring to the alarm a person reads: what, since when, how bad, why, what to do."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from agent import contributors
from agent.publish.snapshot import Alarm, Contributor, Effect, Offsets
from detectors import measures
from detectors.accuracy.calibration import calibration_error
from detectors.budget import Clear, Ring
from detectors.cells import Column
from detectors.evidence import Stream
from detectors.fairness.gap import Gap
from detectors.labels.cells import BOUNDS, by_age
from detectors.labels.delay import LabelDelay
from detectors.labels.learned import Learned

if TYPE_CHECKING:
    from agent.detection import Happening
    from agent.model import Model
    from agent.windows import Window
    from detectors.sketch import Counts

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
    "calibration": "A score no longer means what it meant at approval: do not trust decisions by "
    "threshold or price; roll back to the last good version or calibrate anew on recent labels.",
    "fairness": "The gap between this group and the rest is another than in the approved model: "
    "compare both with the reference and look at what drifted in this group before rolling back.",
    "silence": "Few or no predictions arrive: check the service, its producer and the topic.",
    "traffic": "More or fewer predictions come than usual: find out which callers are new or gone, "
    "and whether something sends requests twice.",
    "labels": "Labels come later or less often than usual: check the feedback topic, its producer "
    "and the source of the labels. Until then accuracy is judged by fewer or older predictions.",
}


class AlarmBook:
    """Standing and passed alarms of one model."""

    def __init__(self, model: Model) -> None:
        self._model = model
        # By severity, detector and target.
        self.standing: dict[tuple[str, str, str], Alarm] = {}
        self.cleared: deque[Alarm] = deque(maxlen=CLEARED_KEPT)
        self.history: list[Alarm] = []

    def record(self, happening: Happening) -> Alarm:
        """The alarm raised, or the one that has cleared (`cleared_at` set)."""
        what = happening.what
        budget = self._model.detection.budgets[happening.severity]
        stream = budget.streams[what.stream]
        key = (happening.severity, stream.detector, stream.target)
        if isinstance(what, Clear):
            return self._clear(key, what.time, "passed")
        alarm = self._raised(happening, what)
        self.standing[key] = alarm
        self.history.append(alarm)
        self._model.alarm_counts[alarm.kind, alarm.severity] += 1
        return alarm

    def _clear(self, key: tuple[str, str, str], time: int, reason: str) -> Alarm:
        alarm = replace(self.standing.pop(key), cleared_at=time, cleared_reason=reason)
        self.cleared.appendleft(alarm)
        return alarm

    def accepted(self, streams: Collection[tuple[str, str]], time: int) -> list[Alarm]:
        """Clear what stands of these (detector, target): what rang is the new normal."""
        keys = [key for key in self.standing if key[1:] in streams]
        return [self._clear(key, time, "accepted") for key in keys]

    def acknowledge(self, number: str, by: str, comment: str, at: int) -> Alarm | None:
        """Note who looks after a standing alarm, `at` milliseconds since the epoch.

        Returns the alarm, None where none of that id stands. Whoever came first is kept.
        """
        for key, alarm in self.standing.items():
            if alarm.id == number:
                if alarm.acknowledged_at is None:
                    alarm = replace(
                        alarm,
                        acknowledged_at=at,
                        acknowledged_by=by,
                        acknowledged_comment=comment,
                    )
                    self.standing[key] = alarm
                return alarm
        return None

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
            effect=self._pair_effect(stream, happening, counts)
            if stream.parts
            else self._effect(stream, ring, counts),
            evidence=ring.evidence,
            budget=str(getattr(model.settings.alerts, severity)),
            contributors=self._contributors(stream, happening, ring),
            profile=model.profile_hash,
            configuration=model.settings.hash,
            recommended_action=ACTIONS[stream.kind],
            runbook=f"docs/runbooks/{stream.kind}.md",
            offsets=self._offsets(ring),
        )

    def _offsets(self, ring: Ring) -> tuple[Offsets, ...]:
        """The records of both topics in the panes from onset to alarm."""
        pane = self._model.pane
        found = self._model.offsets.since(ring.onset // pane, ring.time // pane)
        return tuple(Offsets(*at, first, last) for at, first, last in found)

    def _version(self, counts: Counts) -> str:
        """The version that made most of the predictions."""
        seen = counts[self._model.first_version_cell :]
        most = np.flatnonzero((seen == seen.max()) & (seen > 0)).tolist()
        return min((self._model.versions.name(code) for code in most), default="")

    def _effect(self, stream: Stream, ring: Ring, counts: Counts) -> Effect:
        """Size of the change, from what has come since the onset."""
        if stream.kind == "accuracy":
            return self._error_effect(counts)
        if stream.kind == "calibration":
            return self._calibration_effect(counts)
        if stream.kind == "fairness":
            return self._gap_effect(stream, counts)
        if stream.kind in ("silence", "traffic"):
            return self._traffic_effect(ring)
        if stream.kind == "labels":
            return self._label_effect(stream, counts)
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

    def _gap_effect(self, stream: Stream, counts: Counts) -> Effect:
        gap = next(d for d in self._model.detection.detectors if d.stream == stream)
        assert isinstance(gap, Gap)
        section = counts[self._model.pane_cells.sections[gap.source]]
        return Effect(stream.detector, *gap.effect(section))

    def _pair_effect(self, stream: Stream, happening: Happening, counts: Counts) -> Effect:
        """Correlation of the pair that carries most of the evidence."""
        joint = self._model.pane_cells.joint
        assert joint is not None
        section = counts[self._model.pane_cells.sections["joint"]]
        carried = [happening.gathered[stream.detector, name] for name in joint.names]
        now, then = joint.correlations(section)
        strongest = int(np.argmax(carried))
        return Effect("correlation", float(now[strongest]), float(then[strongest]))

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

    def _calibration_effect(self, counts: Counts) -> Effect:
        reference = self._model.profile.calibration
        assert reference is not None
        current = counts[self._model.pane_cells.sections["calibration"]]
        now, then = (calibration_error(reference, c) for c in (current, np.array(reference.counts)))
        return Effect("expected_calibration_error", now, then)

    def _traffic_effect(self, ring: Ring) -> Effect:
        """Predictions an hour since the onset, and what the reference has at such hours.

        Of what the windows still hold: a silence can be longer than they are.
        """
        traffic, pane = self._model.profile.traffic, self._model.pane
        assert traffic is not None
        counts, first = self._reaching(ring.onset, ring.time).wholly_since(ring.onset // pane)
        prediction = self._model.cells.columns[-1]
        came = float(counts[prediction.start : prediction.stop].sum())
        start = min(first * pane, ring.time - pane)
        hours = (ring.time - start) / 3_600_000
        return Effect(
            "predictions_per_hour", came / hours, traffic.expected(start, ring.time) / hours
        )

    def _label_effect(self, stream: Stream, counts: Counts) -> Effect:
        """The median delay in seconds, or the share with a label at the age that lost most."""
        now = counts[self._model.pane_cells.sections["labels"]]
        watching = zip(self._model.detection.detectors, self._model.state.memories, strict=True)
        detector, memory = next((d, m) for d, m in watching if d.stream == stream)
        if isinstance(detector, LabelDelay):
            assert isinstance(memory, Learned)
            seconds = BOUNDS / 1000
            medians = [_median(seconds, c) for c in (now[detector.cells], memory.reference)]
            return Effect("median_label_delay_seconds", *medians)
        assert isinstance(memory, tuple)
        then = np.stack([known.reference for known in memory])
        shares = [c[:, 0] / np.maximum(c.sum(axis=1), 1) for c in (by_age(now), then)]
        known = then.any(axis=1) & by_age(now).any(axis=1)
        lost = int(np.argmax(np.where(known, shares[1] - shares[0], -1.0)))
        return Effect("label_coverage", float(shares[0][lost]), float(shares[1][lost]))

    def _contributors(
        self, stream: Stream, happening: Happening, ring: Ring
    ) -> tuple[Contributor, ...]:
        found = contributors.features(stream, happening)
        if stream.kind != "accuracy":
            return found
        onset = ring.onset // self._model.pane
        since = self._reaching(ring.onset, ring.time, self._model.shown).since(onset)
        return found + contributors.segments(self._model, since, self._model.shown_total)

    def _since(self, onset: int, time: int) -> Counts:
        """Cells since the onset."""
        return self._reaching(onset, time).since(onset // self._model.pane)

    def _reaching(
        self, onset: int, time: int, windows: Mapping[int, Window] | None = None
    ) -> Window:
        """The shortest window that reaches back to the onset, of the detected cells by default."""
        pane, ordered = self._model.pane, list((windows or self._model.detected).values())
        reaching = [w for w in ordered if w.span * pane >= time - onset]
        return reaching[0] if reaching else ordered[-1]


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
