"""The agent's main loop: poll, take, close, publish, commit."""

from collections.abc import Callable
from typing import Protocol

import structlog

from agent.control import Answer, Command, Commands
from agent.intake.source import Source
from agent.orders import carry_out
from agent.pipeline import Pipeline
from agent.publish.events import EventSink, What, cloud_event
from agent.publish.snapshot import Alarm, Snapshot
from agent.results import alarm_result
from agent.snapshots import snapshot

POLL_SECONDS = 0.5
SNAPSHOT_SECONDS = 1.0
HOPELESSLY_BEHIND = 1_000_000  # records of lag from which the agent is not ready


class LiveSource(Source, Protocol):
    """A source that may be unreachable for a while and says so."""

    @property
    def problem(self) -> str:
        """What keeps records from coming, in one line; empty where nothing does."""


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
    """

    def __init__(
        self,
        source: LiveSource,
        pipeline: Pipeline,
        events: EventSink,
        clock: Callable[[], float],
        on_alarm: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._source, self._pipeline, self._events = source, pipeline, events
        self._clock, self._on_alarm = clock, on_alarm
        self._started = clock()
        self._log = structlog.get_logger("agent.loop")
        self.commands = Commands()
        self.latest = snapshot(pipeline, {}, self._started, self._started, "starting")

    def run(self, stop: Callable[[], bool]) -> None:
        """Until `stop` says so."""
        try:
            while not stop():
                self.turn()
        finally:
            self.commands.close()
        self._events.pump()

    def turn(self) -> None:
        """One turn: what was polled is folded before its offsets are committed."""
        now = self._clock()
        ahead = int(now * 1000) + self._pipeline.config.ahead
        batches = self._source.poll(POLL_SECONDS)
        self._pipeline.assign(self._source.assignment())
        for batch in batches:
            self._pipeline.take(batch, ahead, now)
        if not self._source.problem:
            self._pipeline.idle(self._source.lag(), self._clock())
        for alarm in self._pipeline.close():
            what: What = "raised" if alarm.cleared_at is None else "cleared"
            self._events.publish(cloud_event(alarm, self._clock(), what))
            self._tell(alarm)
        self.commands.take_up(self._carry_out)
        self._events.pump()
        self._publish()
        if batches:
            self._source.commit(self._pipeline.offsets)

    def _carry_out(self, command: Command) -> Answer:
        done = carry_out(command, self._pipeline, self._clock())
        for event in done.events:
            self._events.publish(event)
        for alarm in done.cleared:
            self._tell(alarm)
        self._publish(at_once=True)  # who has the answer must see what it says
        return done.answer

    def _tell(self, alarm: Alarm) -> None:
        self._on_alarm(describe(alarm_result(alarm), alarm.model, alarm.cleared_at is not None))

    def _publish(self, at_once: bool = False) -> None:
        now = self._clock()
        if at_once or now - self.latest.taken_at >= SNAPSHOT_SECONDS:
            lag = self._source.lag()
            self.latest = snapshot(self._pipeline, lag, now, self._started, self._not_ready())

    def _not_ready(self) -> str:
        if self._source.problem:
            return self._source.problem
        if not self._source.assignment():
            return "no partitions are assigned yet"
        if self._pipeline.uneven:
            return self._pipeline.uneven
        behind = sum(max(n, 0) for n in self._source.lag().values())
        return f"{behind} records behind" if behind > HOPELESSLY_BEHIND else ""

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
