"""One model: its partitions fold, their panes are merged, detectors and budgets judge."""

import time as wall
from collections import Counter, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from agent.alarms import AlarmBook
from agent.closed import Facts, earliest, latest
from agent.config import Config, ModelConfig
from agent.counters import REJECTED_KEPT, Counters, PaneSeconds
from agent.detection import Detection, DetectionState, Happening
from agent.fitting import check_profile, detectors_of
from agent.fold import Fold
from agent.groups import Groups
from agent.intake.source import RawBatch, TableBatch, TopicPartition
from agent.intake.vocabulary import Vocabulary
from agent.join import Join
from agent.layout import Clocks, Layout, watermarks
from agent.merge import Merge, MergeState
from agent.offsets import OffsetBook, OffsetState
from agent.panes import FOREVER, NEVER, Entries
from agent.publish.dead_letters import Refuse, nobody
from agent.publish.snapshot import Alarm, Rejected
from agent.renewal import Watching, carried, watching
from agent.tally import Tally
from agent.windows import Window, WindowState
from detectors.evidence import RatioDetector, Severity
from detectors.pane import PaneCells
from detectors.power import Power, power
from detectors.profile import Profile
from detectors.traffic.volume import Traffic

Ints = NDArray[np.int64]

HOUR = 3_600_000  # milliseconds


@dataclass(frozen=True, slots=True)
class ModelState:
    """All that a model remembers beside its partitions."""

    merge: MergeState
    panes: int
    detect_after: int
    detection: DetectionState
    detected: dict[int, WindowState]
    shown: dict[int, WindowState]
    detected_total: Ints
    shown_total: Ints
    offsets: tuple[OffsetState, ...]
    standing: dict[tuple[str, str, str], Alarm]
    cleared: tuple[Alarm, ...]
    alarm_counts: dict[tuple[str, str], int]
    taken: int  # messages of the panes topic before this one are part of it
    taken_of: tuple[str, int]  # the partition that they are of
    untold: tuple[bytes, ...]  # events that may not have been told
    unlearnable: dict[tuple[str, str], int]


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
        self.file_hash = profile_hash if config.profile is not None else ""
        check_profile(name, config, profile)
        self._detect_after = detect_after
        self.pane = int(settings.pane)
        self.layout = Layout(config, settings, profile)
        self.pane_cells, self.cells = self.layout.pane_cells, self.layout.pane_cells.inputs
        self.performance, self.by_group = self.layout.performance, self.layout.by_group
        self.first_version_cell = self.layout.first_version_cell
        self.versions = Vocabulary()
        self.groups = Groups(profile.schema, config.segments, self.versions)
        self.folds: dict[int, Fold] = {}  # by partition
        self.recent_rejected: deque[Rejected] = deque(maxlen=REJECTED_KEPT)
        self.unlearnable: Counter[tuple[str, str]] = Counter()  # topic, reason: while learning
        topics = str(config.predictions.topic), str(config.feedback.topic)
        self.merge = Merge(self.layout, topics, self.versions)
        self.detection = self._detection(profile, self.pane_cells)
        self.state: DetectionState = self.detection.start()
        spans = {w: w // self.pane for w in settings.windows}
        size, shown_size = self.layout.detected_size, self.layout.shown_size
        self.detected: dict[int, Window] = {w: Window(n, size) for w, n in spans.items()}
        self.shown: dict[int, Window] = {w: Window(n, shown_size) for w, n in spans.items()}
        self.offsets = OffsetBook(self.detected.values())
        self.detected_total = np.zeros(size, dtype=np.int64)
        self.shown_total = np.zeros(shown_size, dtype=np.int64)
        self.alarms = AlarmBook(self)
        self.alarm_counts: Counter[tuple[str, str]] = Counter()  # kind, severity
        self._power = self._powers()
        self.recorder: Recorder | None = None
        self.is_kept = False  # there are checkpoints
        self.is_shared = False  # several agents fold its partitions
        self.is_judged = True  # by this agent
        self.taken = 0  # the next message of the panes topic to take in
        self.taken_of = ("", 0)  # and the partition that it is of
        self.left_out: dict[int, int] = {}  # by partition that is too far ahead: its first message
        self.untold: list[bytes] = []  # events not known to have been delivered
        self.refuse: Refuse = nobody
        self.tally = Tally()
        self.traffic_ends = FOREVER  # the end of a recording is no silence
        self.closed = NEVER  # number of the first pane that is not closed
        self.panes = 0
        self.pane_seconds = PaneSeconds()

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
        self.state = carried(watching(self.detection), self.state, detection, anew)
        self.profile, self.profile_hash = profile, digest
        self.layout.renew(profile, cells)
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

    def capture(self) -> ModelState:
        """What to remember beside the partitions; the same however records were batched."""
        self.merge.facts |= {number: fold.facts() for number, fold in self.folds.items()}
        return ModelState(
            self.merge.capture(),
            self.panes,
            self._detect_after,
            self.state,
            {w: window.capture() for w, window in self.detected.items()},
            {w: window.capture() for w, window in self.shown.items()},
            self.detected_total,
            self.shown_total,
            self.offsets.capture(),
            dict(sorted(self.alarms.standing.items())),
            tuple(self.alarms.cleared),
            dict(sorted(self.alarm_counts.items())),
            self.taken,
            self.taken_of,
            tuple(self.untold),
            dict(sorted(self.unlearnable.items())),
        )

    def restore(self, state: ModelState, before: Sequence[Watching] = ()) -> int:
        """Go on from what `capture` returned; of a model that has seen nothing.

        `before` is what its detectors watched, of the profile that the model has now. Those that it
        does not have any more are left, those that are new start anew, and so do all where the
        profile is another. Returns how many go on.
        """
        self.merge.restore(state.merge)
        self.closed, self.panes, self._detect_after = (
            state.merge.closed,
            state.panes,
            state.detect_after,
        )
        for windows, states in ((self.detected, state.detected), (self.shown, state.shown)):
            for width in windows.keys() & states.keys():
                windows[width].restore(states[width])
        self.detected_total[:], self.shown_total[:] = state.detected_total, state.shown_total
        self.offsets.restore(state.offsets)
        self.alarm_counts = Counter(state.alarm_counts)
        self.unlearnable = Counter(state.unlearnable)
        self.taken, self.taken_of, self.untold = state.taken, state.taken_of, list(state.untold)
        self.alarms.cleared.extend(state.cleared)
        now = watching(self.detection)
        kept = set(before) & set(now)
        if before:
            self.state = carried(before, state.detection, self.detection)
        names = {(w.severity, *w.name) for w in kept}
        self.alarms.standing.update({k: a for k, a in state.standing.items() if k in names})
        return len(kept)

    def partition(self, number: int) -> Fold:
        """The fold of that partition; a new one has seen nothing."""
        if number not in self.folds:
            # What is closed stays closed: older rows of a partition that comes late are late.
            closed = NEVER if self.is_shared else self.closed
            made = Fold(self.layout, number, closed, self.recent_rejected, self.refuse)
            made.is_shared = self.is_shared
            # Not before there is a checkpoint of its own: until then the next agent could go on
            # from one that an earlier owner, thought dead, has written meanwhile.
            made.is_certain = not self.is_shared
            self.folds[number] = made
        return self.folds[number]

    def kept(self, number: int) -> int:
        """Bytes kept of a partition until others have come."""
        fold = self.folds.get(number)
        return (fold.bytes if fold is not None else 0) + self.merge.waiting(number)

    def watermarks(self, topics: tuple[str, str]) -> dict[TopicPartition, int]:
        """Watermark of each partition at hand of the topics of predictions and feedback."""
        return watermarks({n: f.clocks for n, f in self.folds.items()}, topics)

    def silent(self, predictions: bool, number: int, until: int) -> None:
        """Nothing before `until` (ms) will come of a topic's partition: its clock is the wall's."""
        self.partition(number).advance(predictions, until)

    def clocks(self, number: int) -> Clocks:
        """The clocks of a partition."""
        return self.partition(number).clocks

    def position(self, at: TopicPartition) -> int | None:
        """The next record of a partition to take in; None where none has been taken in."""
        fold = self.folds.get(at[1])
        return None if fold is None else fold.positions.get(at[0])

    needed = position

    def advance(self, at: TopicPartition, position: int) -> None:
        """Everything before that position has been taken in."""
        positions = self.partition(at[1]).positions
        positions[at[0]] = max(position, positions.get(at[0], 0))

    def predictions(self, raw: RawBatch | TableBatch, latest: int) -> None:
        """Take in a batch of predictions; times after `latest` (milliseconds) are rejected."""
        self.partition(raw.partition).predictions(raw, latest)

    def feedback(self, raw: RawBatch | TableBatch, latest: int) -> None:
        """Take in a batch of feedback; times after `latest` (milliseconds) are rejected."""
        self.partition(raw.partition).feedback(raw, latest)

    @property
    def counters(self) -> Counters:
        """What the partitions at hand have counted, together."""
        found = Counters()
        found.rejected.update(self.unlearnable)
        for _, fold in sorted(self.folds.items()):
            found.add(fold.counters)
        return found

    @property
    def joins(self) -> list[Join]:
        """The joins of the partitions at hand."""
        return [fold.join for _, fold in sorted(self.folds.items())]

    @property
    def facts(self) -> list[Facts]:
        """What is known of each partition: of those at hand, as of now."""
        if not self.is_judged:
            return [fold.facts() for fold in self.folds.values()]
        now = {number: fold.facts() for number, fold in self.folds.items()}
        return [facts for _, facts in sorted((self.merge.facts | now).items())]

    @property
    def first_time(self) -> int | None:
        """The earliest prediction's, milliseconds."""
        return earliest([f.first_time for f in self._folded()])

    @property
    def last_time(self) -> int | None:
        """The latest prediction's, milliseconds."""
        return latest([f.last_time for f in self._folded()])

    @property
    def last_joined(self) -> int | None:
        """The latest joined row's, milliseconds."""
        return latest([f.last_joined for f in self._folded()])

    def _folded(self) -> list[Fold | Facts]:
        return [*self.merge.facts.values(), *self.folds.values()]

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
        if self.is_shared:
            complete = self.merge.complete()
            return complete * self.pane if complete > NEVER else NEVER
        return min((fold.watermark for fold in self.folds.values()), default=NEVER)

    def close(self) -> list[Alarm]:
        """Close all panes that every partition has passed; returns alarms raised or cleared.

        Where several agents share the model, what is closed here comes back by way of a topic, to
        the agent that judges it.
        """
        for _, fold in sorted(self.folds.items()):
            closed = fold.close()
            if closed is None:
                continue
            if not self.is_shared:
                self.merge.take(closed)
            if self.is_kept:
                fold.keep(closed)
        return self.judge() if self.is_judged else []

    def judge(self) -> list[Alarm]:
        """Judge the panes that all partitions have closed; returns alarms raised or cleared."""
        before = self.merge.complete(() if self.is_shared else self.folds)
        is_known = self.merge.expected or not self.is_shared  # which partitions there are
        if before <= self.closed or not is_known:
            return []
        began = wall.perf_counter()
        detected, shown, offsets = self.merge.close(before)
        for at, ranges in offsets:
            self.offsets.add(at, ranges)
        judged = detected.take(detected.pane >= self._detect_after // self.pane)
        until = min(before * self.pane, self.traffic_ends)
        self.state, happened = self.detection.step(self.state, judged, until)
        self.closed = before
        self.panes += len(np.unique(detected.pane))
        alarms = self._publish(detected, shown, happened)
        self.pane_seconds.observe(wall.perf_counter() - began)
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
        clocks = self.clocks(number)
        if predictions:
            clocks.predictions.advance(clocks.feedback.watermark)
            if recorded:
                newest = max(f.clocks.predictions.newest for f in self.folds.values())
                self.traffic_ends = (newest // self.pane + 1) * self.pane
        else:
            clocks.feedback.advance(clocks.predictions.watermark)

    def finish(self) -> list[Alarm]:
        """The end of all input: close every pane that holds something."""
        clocks = [c for f in self.folds.values() for c in (f.clocks.predictions, f.clocks.feedback)]
        newest = max((c.newest for c in clocks), default=NEVER)
        if newest == NEVER:
            return []
        for clock in clocks:
            clock.advance((newest // self.pane + 1) * self.pane)
        alarms = self.close()
        for fold in self.folds.values():
            fold.join.finish()
        return alarms
