"""One model's straight line: decode, join, panes, fold, merge, detect, budget."""

import time as wall
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.ages import Ages
from agent.alarms import AlarmBook
from agent.config import Config, ModelConfig
from agent.counters import Counters
from agent.detection import Detection, DetectionState, Happening
from agent.fitting import check_profile, detectors_of
from agent.folding import fold_batch, fold_labels, fold_outcomes, fold_shown, fold_versions
from agent.groups import Groups
from agent.intake.decode import FeedbackDecoder, PredictionDecoder
from agent.intake.source import RawBatch, TableBatch
from agent.intake.vocabulary import Vocabulary
from agent.join import Corrections, Join
from agent.offsets import OffsetBook
from agent.panes import FOREVER, NEVER, Entries, OpenPanes, PartitionClock, summed
from agent.publish.snapshot import Alarm
from agent.renewal import carried
from agent.windows import Window
from detectors.accuracy import performance_sketch
from detectors.batch import Batch, Outcomes, protected_codes
from detectors.evidence import RatioDetector, Severity
from detectors.fairness.groups import GroupCells
from detectors.labels import cells as labels
from detectors.pane import PaneCells
from detectors.power import Power, power
from detectors.profile import Profile
from detectors.traffic.volume import Traffic

Ints = NDArray[np.int64]

HOUR = 3_600_000  # milliseconds


@dataclass(slots=True)
class Partition:
    """What belongs to one partition of a model's two topics."""

    predictions: PartitionClock
    feedback: PartitionClock
    join: Join
    detected: OpenPanes = field(default_factory=OpenPanes)  # input and error cells
    shown: OpenPanes = field(default_factory=OpenPanes)  # cells of performance and by group

    @property
    def watermark(self) -> int:
        """Event time that both topics have passed."""
        return min(self.predictions.watermark, self.feedback.watermark)


class Recorder(Protocol):
    """Is told of every closed pane that holds something."""

    def record(self, model: "Model", pane: int) -> None:
        """The windows of `model` end with this pane now."""


class Model:
    """A model with its profile: batches in, alarms and windows out.

    Parameters
    ----------
    name, config, settings
        The model and its configuration.
    profile
        What it is compared with.
    profile_hash
        Identifies the profile in alarms.
    detect_after
        Panes that end at or before this time are shown but not judged: a profile learned from
        traffic is not tested on that same traffic.
    keep_totals
        Also keep sums over all time, for a replay's result.
    """

    def __init__(
        self,
        name: str,
        config: ModelConfig,
        settings: Config,
        profile: Profile,
        profile_hash: str,
        detect_after: int = NEVER,
    ) -> None:
        self.name, self.config, self.settings = name, config, settings
        self.profile, self.profile_hash = profile, profile_hash
        check_profile(name, config, profile)
        self._detect_after = detect_after
        self.pane = int(settings.pane)
        self.versions = Vocabulary()
        self.counters = Counters()
        self.groups = Groups(profile.schema, config.segments, self.versions)
        self.pane_cells = PaneCells(profile)
        self.cells = self.pane_cells.inputs
        self.performance = performance_sketch(profile.schema, self.groups.count)
        self.by_group = GroupCells(profile.schema)  # its cells are shown after performance's
        self._decode_predictions = PredictionDecoder(profile.schema, config.fields, self.versions)
        self._decode_feedback = FeedbackDecoder(profile.schema, config.fields)
        self.detection = self._detection(profile, self.pane_cells)
        self.state: DetectionState = self.detection.start()
        self.partitions: dict[int, Partition] = {}
        spans = {w: w // self.pane for w in settings.windows}
        self.first_version_cell = self.pane_cells.size
        size = self.first_version_cell + self.versions.limit + 1
        self.detected: dict[int, Window] = {w: Window(n, size) for w, n in spans.items()}
        shown_size = self.performance.size + self.by_group.size
        self.shown: dict[int, Window] = {w: Window(n, shown_size) for w, n in spans.items()}
        self.offsets = OffsetBook(self.detected.values())
        self.detected_total = np.zeros(size, dtype=np.int64)
        self.shown_total = np.zeros(shown_size, dtype=np.int64)
        self.alarms = AlarmBook(self)
        self._power = self._powers()
        self.recorder: Recorder | None = None
        self.traffic_ends = FOREVER  # the end of a recording is no silence
        self.closed = NEVER  # number of the first pane that is not closed
        self.panes = 0
        self.first_time: int | None = None
        self.last_time: int | None = None
        self.last_joined: int | None = None

    def _detection(self, profile: Profile, cells: PaneCells) -> Detection:
        share = 1000 * len(self.settings.models)
        rates: dict[Severity, float] = {
            "page": self.settings.alerts.page.per_second / share,
            "ticket": self.settings.alerts.ticket.per_second / share,
        }
        detectors = detectors_of(self.name, self.config, profile, cells.inputs, rates, self.pane)
        tick = next((d.traffic.tick for d in detectors if isinstance(d, Traffic)), 0)
        prediction = cells.inputs.columns[-1]
        counted = slice(prediction.start, prediction.stop)
        weights = self.config.detectors.weights
        return Detection(detectors, cells.sections, self.pane, tick, rates, counted, weights)

    def renew(self, profile: Profile, digest: str, anew: Collection[tuple[str, str]]) -> None:
        """Go on with another profile of the same cells; these (detector, target) start anew.

        UsageError, and nothing changed, where the configuration does not fit it.
        """
        cells = PaneCells(profile)
        detection = self._detection(profile, cells)
        self.state = carried(self.detection, self.state, detection, anew)
        self.profile, self.profile_hash = profile, digest
        self.pane_cells, self.cells = cells, cells.inputs
        self.detection = detection
        self._power = self._powers()

    def _powers(self) -> dict[str, tuple[Power, float, float]]:
        """Of each numeric target: its power, its stream's weight, and the tolerated rate."""
        columns = {c.name: c.numeric for c in self.cells.columns if c.numeric is not None}
        found = {}
        for severity, budget in self.detection.budgets.items():
            for detector in self.detection.of(severity):
                stream = detector.stream
                if stream.detector == "numeric_drift" and isinstance(detector, RatioDetector):
                    weight = budget.weight(stream)
                    made = power(detector, columns[stream.target])
                    found[stream.target] = (made, weight, budget.rate)
        return found

    def detectable_shifts(self) -> dict[str, float]:
        """Smallest shift (standard deviations) that an hour of today's traffic can show."""
        day = min((w for w in self.detected if w >= HOUR), default=max(self.detected))
        window = self.detected[day]
        if self.first_time is None or self.closed == NEVER:
            return {}
        seconds = min(day, self.closed * self.pane - self.first_time) / 1000
        found = {}
        for target, (made, weight, rate) in self._power.items():
            column = self.cells.column(target)
            rows = window.total[column.start : column.start + column.known].sum()
            per_second = float(rows) / max(seconds, 1.0)
            found[target] = made.detectable(per_second * 3600, per_second, weight, rate)
        return found

    def partition(self, number: int) -> Partition:
        """The partition of that number; a new one has seen nothing."""
        if number not in self.partitions:
            lateness, feedback = int(self.settings.lateness), self.config.feedback
            made = Partition(
                PartitionClock(self.pane, lateness),
                PartitionClock(self.pane, lateness),
                Join(
                    int(feedback.horizon),
                    int(feedback.corrections),
                    int(feedback.early),
                    int(feedback.memory),
                    Ages(labels.ages(int(feedback.horizon)), self.pane),
                ),
            )
            if self.closed > NEVER:
                # What is closed stays closed: older rows of a partition that comes late are late.
                for clock in (made.predictions, made.feedback):
                    clock.advance(self.closed * self.pane + lateness)
            self.partitions[number] = made
        return self.partitions[number]

    def predictions(self, raw: RawBatch | TableBatch, latest: int) -> None:
        """Take in a batch of predictions; times after `latest` (milliseconds) are rejected."""
        decoded = self._decode_predictions.decode(raw, latest=latest)
        self.counters.reject(raw, decoded)
        self.counters.recent.append((len(decoded.rows), len(decoded.rejected)))
        partition = self.partition(raw.partition)
        batch = decoded.rows
        if not len(batch):
            return
        times, late = partition.predictions.assign(batch.time)
        self.counters.late[raw.topic] += int(late.sum())
        batch = replace(batch, time=times)
        self.offsets.add((raw.topic, raw.partition), times // self.pane, raw.offsets[decoded.index])
        new, outcomes, corrections = partition.join.predictions(
            batch, self.groups.of(batch), protected_codes(self.profile.schema, batch)
        )
        if not new.all():
            self.counters.rejected[raw.topic, "duplicate"] += int((~new).sum())
            batch = batch.take(new)
        self._saw(batch)
        partition.detected.add(fold_batch(self.pane_cells, batch, self.pane))
        partition.detected.add(fold_versions(batch, self.pane, self.first_version_cell))
        self._fold(partition, outcomes, corrections)

    def feedback(self, raw: RawBatch | TableBatch, latest: int) -> None:
        """Take in a batch of feedback; times after `latest` (milliseconds) are rejected."""
        decoded = self._decode_feedback.decode(raw, latest=latest)
        self.counters.reject(raw, decoded)
        partition = self.partition(raw.partition)
        rows = decoded.rows
        times, late = partition.feedback.assign(rows.time)
        self.counters.late[raw.topic] += int(late.sum())
        self.counters.feedback += len(rows)
        self.offsets.add((raw.topic, raw.partition), times // self.pane, raw.offsets[decoded.index])
        schema = self.profile.schema
        outcomes, corrections = partition.join.feedback(
            replace(rows, time=times),
            schema.score_columns,
            self.groups.memberships,
            len(schema.protected),
        )
        self._fold(partition, outcomes, corrections)

    def _saw(self, batch: Batch) -> None:
        versions = np.bincount(batch.version)
        for version in np.flatnonzero(versions).tolist():
            self.counters.predictions[version] += int(versions[version])
        self.counters.observe_latency(batch.version, batch.latency)
        if len(batch):
            first, last = int(batch.time.min()), int(batch.time.max())
            self.first_time = first if self.first_time is None else min(first, self.first_time)
            self.last_time = last if self.last_time is None else max(last, self.last_time)

    def _fold(self, partition: Partition, outcomes: Outcomes, corrections: Corrections) -> None:
        partition.detected.add(fold_outcomes(self.pane_cells, outcomes, self.pane))
        time, delay = partition.join.delayed()
        made = fold_labels(self.pane_cells, time, labels.delay_cells(delay), self.pane)
        partition.detected.add(made)
        if len(outcomes):
            self.last_joined = max(self.last_joined or NEVER, int(outcomes.time.max()))
        for sketch, first in ((self.performance, 0), (self.by_group, self.performance.size)):
            partition.shown.add(fold_shown(sketch, outcomes, corrections, self.pane, first))

    @property
    def learning(self) -> bool:
        """The traffic that the profile was learned from is not over yet."""
        return self._detect_after > NEVER and self.closed * self.pane < self._detect_after

    @property
    def traffic_bucket(self) -> int:
        """Width of the buckets of `traffic`, milliseconds."""
        return self.detected[min(self.detected)].width * self.pane

    def traffic(self) -> tuple[float, ...]:
        """Predictions in each bucket of the shortest window, oldest first."""
        window = self.detected[min(self.detected)]
        first = self.cells.columns[-1]  # every prediction has exactly one cell of each column
        return tuple(
            float(window.bucket_sum(number, first.start, first.stop))
            for number in window.bucket_numbers()
        )

    @property
    def watermark(self) -> int:
        """Event time up to which every partition is complete, milliseconds."""
        return min((p.watermark for p in self.partitions.values()), default=NEVER)

    def close(self) -> list[Alarm]:
        """Close all panes that the watermark has passed; returns alarms raised or cleared."""
        if self.watermark <= NEVER:
            return []
        before = self.watermark // self.pane
        if before <= self.closed:
            return []
        began = wall.perf_counter()
        for partition in self.partitions.values():
            aged = partition.join.aged(before * self.pane)
            cell = labels.age_cells(aged.age, aged.labelled)
            partition.detected.add(fold_labels(self.pane_cells, aged.time, cell, self.pane))
        detected = summed([p.detected.close(before) for p in self.partitions.values()])
        shown = summed([p.shown.close(before) for p in self.partitions.values()])
        for partition in self.partitions.values():
            partition.join.expire(partition.predictions.open_from, before * self.pane)
        judged = detected.take(detected.pane >= self._detect_after // self.pane)
        until = min(before * self.pane, self.traffic_ends)
        self.state, happened = self.detection.step(self.state, judged, until)
        self.closed = before
        self.panes += len(np.unique(detected.pane))
        alarms = self._publish(detected, shown, happened)
        self.counters.observe_pane(wall.perf_counter() - began)
        return alarms

    def _publish(self, detected: Entries, shown: Entries, happened: list[Happening]) -> list[Alarm]:
        """Feed the windows up to each alarm, so that it is described as of its own moment."""
        alarms = []
        for happening in happened:
            detected, shown = self._advance(detected, shown, happening.what.time // self.pane)
            alarms.append(self.alarms.record(happening))
        self._advance(detected, shown, self.closed)
        return alarms

    def _advance(self, detected: Entries, shown: Entries, before: int) -> tuple[Entries, Entries]:
        """Let the windows end before that pane, past the recorder; returns the rest."""
        if self.recorder is not None:
            panes = np.union1d(detected.pane, shown.pane)
            for pane in panes[panes < before].tolist():
                detected = self._show(self.detected, detected, pane + 1)
                shown = self._show(self.shown, shown, pane + 1)
                self.recorder.record(self, pane)
        self.offsets.advance(before)
        detected = self._show(self.detected, detected, before)
        return detected, self._show(self.shown, shown, before)

    def _show(self, windows: dict[int, Window], entries: Entries, before: int) -> Entries:
        """Add the panes below `before` to the windows; returns the rest."""
        now = int(np.searchsorted(entries.pane, before))
        part = entries.take(slice(now))
        total = self.detected_total if windows is self.detected else self.shown_total
        np.add.at(total, part.cell, part.weight)
        for window in windows.values():
            window.add(part)
            window.slide(before - 1)
        return entries.take(slice(now, None))

    def end_of(self, predictions: bool, number: int, recorded: bool = True) -> None:
        """A topic's partition holds no more: its watermark follows the other topic's.

        With `recorded` it is the end of a recording, which is no silence of the model.
        """
        partition = self.partition(number)
        if predictions:
            partition.predictions.advance(partition.feedback.watermark)
            if recorded:
                newest = max(p.predictions.newest for p in self.partitions.values())
                self.traffic_ends = (newest // self.pane + 1) * self.pane
        else:
            partition.feedback.advance(partition.predictions.watermark)

    def finish(self) -> list[Alarm]:
        """The end of all input: close every pane that holds something."""
        clocks = [c for p in self.partitions.values() for c in (p.predictions, p.feedback)]
        newest = max((c.newest for c in clocks), default=NEVER)
        if newest == NEVER:
            return []
        for clock in clocks:
            clock.advance((newest // self.pane + 1) * self.pane)
        alarms = self.close()
        for partition in self.partitions.values():
            partition.join.finish()
        return alarms
