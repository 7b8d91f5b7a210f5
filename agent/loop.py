"""The agent's main loop: poll, take, close, publish, commit."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

import msgspec
import structlog

from agent.checkpoint.keeper import RESTORED, Keeper, Unkept
from agent.control import Answer, Command, Commands
from agent.exchange import Exchange
from agent.intake.source import Places, RawBatch, Source, TableBatch, TopicPartition
from agent.model import Model
from agent.orders import carry_out
from agent.pipeline import Pipeline
from agent.publish.events import Event, EventSink, What, cloud_event
from agent.publish.snapshot import Alarm, CheckpointStatus, ReloadStatus, Snapshot
from agent.results import alarm_result
from agent.snapshots import snapshot

POLL_SECONDS = 0.5
SNAPSHOT_SECONDS = 1.0
LETTERS_SECONDS = 1.0  # how long a commit waits for dead letters
PLACE_SECONDS = 2.0  # until it is tried again to read partitions from where they were read to
UNTOLD = 100  # events of a model that are remembered to be told again
CATCH_UP_SECONDS = 60.0  # how long counts are kept back that may be less than was told before
HOPELESSLY_BEHIND = 1_000_000  # records of lag from which the agent is not ready


class LiveSource(Source, Protocol):
    """A source that may be unreachable for a while and says so."""

    @property
    def problem(self) -> str:
        """What keeps records from coming, in one line; empty where nothing does."""

    @property
    def missed(self) -> Mapping[str, int]:
        """Of each topic: records that were gone before they could be read."""

    @property
    def has_caught_up(self) -> bool:
        """Whether all that there was when partitions were placed has been handed over."""

    @property
    def has_joined(self) -> bool:
        """Whether partitions have been handed out, be it none to this agent."""

    def partitions_of(self, topic: str) -> int:
        """How many partitions a topic has, as far as is known; 0: not known yet."""

    def pause(self, partitions: frozenset[TopicPartition]) -> None:
        """Read these partitions no further until the next call, and all others."""

    def waiting(self) -> frozenset[TopicPartition]:
        """Assigned partitions that are not read before `place` says from where."""

    def place(self, places: Mapping[TopicPartition, Places]) -> bool:
        """Read each of these on at the first of its places; whether that could be done."""


class Reloading(Protocol):
    """Looks out for another configuration."""

    @property
    def status(self) -> ReloadStatus:
        """What became of the newest one."""


class Loop:
    """Runs a pipeline over a source until told to stop.

    Parameters
    ----------
    source, pipeline
        Where records come from, and what they go through.
    events
        Told of each alarm raised, cleared or acknowledged.
    clock
        Seconds since the epoch.
    on_alarm
        Called with one line for a person, for each alarm.
    keeper
        Remembers the pipeline's state; by default nobody does.
    exchange
        Where several agents do the work: how panes go from one to another.
    """

    def __init__(
        self,
        source: LiveSource,
        pipeline: Pipeline,
        events: EventSink,
        clock: Callable[[], float],
        on_alarm: Callable[[str], None] = lambda line: None,
        keeper: Keeper | None = None,
        exchange: Exchange | None = None,
    ) -> None:
        self._exchange = exchange
        self._keeper = keeper or Unkept(pipeline)
        self._place_at = 0.0
        self._behind: dict[TopicPartition, int] = {}  # records, as last known
        self._unsaved = False  # something has happened since the last checkpoint
        self._source, self._pipeline, self._events = source, pipeline, events
        self.clock, self._on_alarm = clock, on_alarm
        self._started = clock()
        self._log = structlog.get_logger("agent.loop")
        self.commands = Commands()
        self.reload: Reloading | None = None
        self._placed_since: float | None = None
        self._is_restored = keeper is None
        self.latest = snapshot(
            pipeline,
            {},
            self._started,
            self._started,
            "starting",
            is_restored=self._is_restored,
        )

    def run(self, stop: Callable[[], bool]) -> None:
        """Until `stop` says so."""
        try:
            while not stop():
                self.turn()
        finally:
            self.commands.close()
        # Nothing depends on it, and a broker that does not answer would use up the time to end in.
        if not self._source.problem:
            self._save()

    def turn(self) -> None:
        """One turn: what was polled is folded before its offsets are committed."""
        now = self.clock()
        # Before the poll: what was polled before a restore has no place after it.
        self._place()
        batches = self._source.poll(POLL_SECONDS)
        self._pipeline.assign(self._source.assignment() - self._source.waiting())
        self._pipeline.expect(self._source.partitions_of)
        self._take(batches, now)
        # A partition whose records are not handed over is not silent.
        if not self._source.problem and not self._source.waiting():
            self._pipeline.idle(self._source.lag(), self.clock())
        alarms = self._pipeline.close()
        self._unsaved |= bool(batches or alarms)
        self._hand_on()
        self._take_up()
        self._pace()
        if alarms:
            self._announce([self._event(alarm) for alarm in alarms])
        for alarm in alarms:
            self._tell(alarm)
        self.commands.take_up(self._carry_out)
        self._publish()
        if self._keeper.due or (self._pipeline.is_crowded and not self._keeper.problem):
            if self._unsaved:
                self._forget_told()
                self._save()
            else:
                self._keeper.confirm()

    def _take(self, batches: list[RawBatch | TableBatch], now: float) -> None:
        """Take in what was polled: records of models, and panes from other agents."""
        ahead = int(now * 1000) + self._pipeline.config.ahead
        for batch in batches:
            if self._exchange is not None and batch.topic == self._exchange.topic:
                self._exchange.take(batch)
            else:
                self._pipeline.take(batch, ahead, now)

    def _hand_on(self) -> None:
        """Send what was closed to those who judge it."""
        if self._exchange is None:
            return
        is_well = not (self._keeper.problem or self._source.problem)
        if self._exchange.is_uncertain and self._keeper.may_save and (self._keeper.due or is_well):
            self._save()
        self._exchange.send()

    def _take_up(self) -> None:
        """Read again what was left out of the panes topic, where it is due."""
        if self._exchange is None or self._source.waiting() or self._has_just_failed:
            return
        for at, offset in self._exchange.again().items():
            self._place_at = self.clock() + PLACE_SECONDS
            if self._source.place({at: [offset]}):
                self._place_at = 0.0
                self._exchange.read_again(at)

    def _pace(self) -> None:
        """Read no further for now what is far ahead of the rest, or what nobody would take."""
        if self._exchange is not None and self._exchange.is_stuck:
            topics = self._pipeline.topics
            own = self._source.assignment()
            self._source.pause(frozenset(at for at in own if at[0] in topics))
        else:
            self._source.pause(self._pipeline.ahead(self.clock(), self._source.lag()))

    def _announce(self, events: list[Event]) -> None:
        """Tell of events, once it is remembered that they are to be told."""
        self._forget_told()
        for event in events:
            told_of = self._pipeline.model(event["data"]["model"])
            if isinstance(told_of, Model):
                told_of.untold.append(msgspec.json.encode(event))
                del told_of.untold[:-UNTOLD]
        self._save()  # what is told has happened, whatever happens next
        for event in events:
            self._events.publish(event)

    def _forget_told(self) -> None:
        if self._events.are_told():
            for model in self._pipeline.started():
                model.untold.clear()

    def _event(self, alarm: Alarm) -> Event:
        what: What = "raised" if alarm.cleared_at is None else "cleared"
        return cloud_event(alarm, self.clock(), what)

    def _place(self) -> None:
        """Restore what new partitions need, and read them on from there."""
        if not self._source.waiting():
            if self._exchange is not None and self._stands_by:
                self._keeper.stand_by()
            return
        if self._has_just_failed:
            return
        places = self._keeper.place(self._source.assignment())
        is_placed = places is not None and self._source.place(places)
        if not is_placed:
            self._place_at = self.clock() + PLACE_SECONDS
        if is_placed:
            self._placed_since = self.clock()
            for model in self._pipeline.started():
                for event in model.untold:
                    self._events.publish(msgspec.json.decode(event))

    @property
    def _has_just_failed(self) -> bool:
        """Could partitions not be read from where they were to be, a moment ago?"""
        return 0 < self._place_at - self.clock() <= PLACE_SECONDS  # a clock can be put back

    @property
    def _stands_by(self) -> bool:
        """Has the group handed out all partitions, and none to this agent?"""
        return self._source.has_joined and not self._source.assignment()

    @property
    def _is_settled(self) -> bool:
        """Is all that the pipeline knows restored, and this agent's to write?"""
        if self._source.waiting() or not self._source.assignment():
            return False
        # Where another agent has the rest of a topic, and the two do not know of each other, either
        # would write a model that lacks what the other has closed.
        return self._exchange is not None or not self._shared_topic()

    def _save(self) -> None:
        """Write a checkpoint; only then are offsets committed."""
        if not self._is_settled:
            return  # nothing of it is this agent's to write
        # What is committed is not read again: its dead letters should be out by then.
        self._pipeline.letters.settle(LETTERS_SECONDS)
        self._unsaved = not self._keeper.save()
        # What a zombie writes nobody reads: that the group knows this agent shows it is none.
        if not self._unsaved and self._source.commit(self._keeper.safe):
            self._keeper.confirm_own()

    def _carry_out(self, command: Command) -> Answer:
        if not self._is_settled:
            why = self._not_ready() or "it stands by, and no partition is its own"
            return Answer(503, {"error": f"the agent cannot do it now: {why}"})
        done = carry_out(command, self._pipeline, self.clock())
        if done.events:
            self._announce(list(done.events))
        for alarm in done.cleared:
            self._tell(alarm)
        self._publish(at_once=True)  # who has the answer must see what it says
        return done.answer

    def _tell(self, alarm: Alarm) -> None:
        self._on_alarm(describe(alarm_result(alarm), alarm.model, alarm.cleared_at is not None))

    def _publish(self, at_once: bool = False) -> None:
        now = self.clock()
        # A clock can be put back.
        if at_once or not 0 <= now - self.latest.taken_at < SNAPSHOT_SECONDS:
            lag = self._source.lag()
            self._is_restored |= self._counts_as_before()
            self.latest = snapshot(
                self._pipeline,
                lag,
                now,
                self._started,
                self._not_ready(),
                self._kept(),
                self._events.counts,
                self._reloaded(),
                self._is_restored,
                self._exchange.refused if self._exchange is not None else 0,
            )

    def _counts_as_before(self) -> bool:
        """Are counts at least what was told of them before this process, or all of its own?

        Since the last checkpoint the process before may have told of more: a count that falls would
        be taken for one that has begun anew.
        """
        if self._placed_since is None:
            return False
        waited = self.clock() - self._placed_since
        return (
            self._exchange is not None
            or RESTORED not in self._keeper.status.restores  # what there is, is new
            or self._source.has_caught_up
            or not 0 <= waited < CATCH_UP_SECONDS
        )

    def _reloaded(self) -> ReloadStatus:
        return self.reload.status if self.reload is not None else ReloadStatus()

    def _kept(self) -> CheckpointStatus:
        return replace(self._keeper.status, missed=dict(self._source.missed))

    def _not_ready(self) -> str:
        if self._exchange is not None and self._exchange.is_stuck:
            return f"topic {self._exchange.topic} takes no panes: reading waits until it does"
        if self._source.problem:
            return self._source.problem
        if not self._source.assignment():
            # More agents than partitions: this one stands by.
            return "" if self._source.has_joined else "no partitions are assigned yet"
        if self._source.waiting():
            return self._keeper.problem or "restoring what is remembered"
        if self._pipeline.uneven:
            return self._pipeline.uneven
        if self._exchange is None and (topic := self._shared_topic()):
            return (
                f"another agent of the group reads a part of {topic}: set kafka.several_agents for "
                "all of them, or give each a kafka.group_id and a kafka.state_topic of its own"
            )
        # Of a partition that was not fetched for a moment what was known last still holds.
        own = self._source.assignment()
        self._behind |= {at: n for at, n in self._source.lag().items() if n >= 0}
        behind = sum(n for at, n in self._behind.items() if at in own)
        return f"{behind} records behind" if behind > HOPELESSLY_BEHIND else ""

    def _shared_topic(self) -> str:
        """A topic of which this agent has only some partitions; empty where there is none."""
        own = Counter(topic for topic, _ in self._source.assignment())
        for topic in self._pipeline.topics:
            if own[topic] < self._source.partitions_of(topic):
                return topic
        return ""

    def snapshot(self) -> Snapshot:
        """The newest picture, for publishers on other threads."""
        return self.latest


def describe(alarm: "dict[str, object]", model: str, cleared: bool) -> str:
    """One line for a person."""
    what = str(alarm["kind"])
    if alarm["target"] not in ("error", "traffic"):
        what += f" of {alarm['target']}"
    if cleared:
        return f"cleared: {model}: {what}"
    effect = alarm["effect"]
    assert isinstance(effect, dict)
    size = f"{effect['measure']} {effect['value']:.3g}"
    return (
        f"{alarm['severity']}: {model}: {what} since {alarm['onset']}: {size} "
        f"(reference {effect['reference']:.3g})"
    )
