"""A consumer group in one process: each member is a real loop, over a source that is made here.

The coordinator hands out partitions by ranges, as `KafkaSource` has it, and every change of members
is a new generation. A member learns of it when it polls next; one that is cut off does not, and
goes on with what it had: a zombie, whose commits are refused. All go by one clock, turned by hand.
"""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from agent.checkpoint import record
from agent.checkpoint.keeper import Keeper
from agent.checkpoint.medium import Memory
from agent.checkpoint.store import Checkpoints
from agent.exchange import Exchange
from agent.intake.source import RawBatch
from agent.loop import Loop
from agent.pipeline import Pipeline
from tests.watched import FEEDBACK, PREDICTIONS

PANES = "tocsin.panes"
TOPICS = (PREDICTIONS, FEEDBACK)
QUIET = 70  # seconds after which a partition has been silent for longer than a pane of a minute


class Died(BaseException):
    """The process is no more."""


@dataclass(frozen=True)
class Records:
    """What a partition gets: values, their times, and when each is there to be read (ms)."""

    values: list[bytes]
    times: np.ndarray
    there: np.ndarray  # in order

    @classmethod
    def live(cls, values, times):
        """Each is there at its time, or right after the one before."""
        return cls(values, times, np.maximum.accumulate(times) if len(times) else times)

    def take(self, rows):
        """Those at these positions."""
        rows = np.asarray(rows, dtype=np.int64)
        return Records([self.values[i] for i in rows], self.times[rows], self.there[rows])

    def silent(self, first, last):
        """Without those that come between these times, or after them and are from before."""
        early = self.there < first
        return self.take(np.flatnonzero(early | ((self.there >= last) & (self.times >= last))))

    def delayed(self, first, until):
        """With those of `first` on there no sooner than `until`."""
        late = np.maximum(self.there, until)
        return replace(self, there=np.where(self.there >= first, late, self.there))


class Group:
    """The topics, the panes topic, the coordinator and the clock.

    Parameters
    ----------
    records
        Of each partition.
    now
        The clock, seconds since the epoch.
    panes
        Partitions of the panes topic.
    """

    def __init__(self, records, now, panes=3):
        self.records, self.now = records, now
        self.panes = {number: [] for number in range(panes)}
        self.members, self.generation = [], 0
        self.committed = {}
        self.away = frozenset()  # partitions whose broker does not answer
        self.told = {}  # events by id

    def clock(self):
        return self.now

    def end(self, at):
        if at[0] == PANES:
            return len(self.panes[at[1]])
        return int(np.searchsorted(self.records[at].there, self.now * 1000, "right"))

    def read(self, at, start, stop):
        if stop <= start:
            return None
        offsets = np.arange(start, stop)
        if at[0] == PANES:
            return RawBatch(*at, self.panes[at[1]][start:stop], offsets, offsets)
        held = self.records[at]
        return RawBatch(*at, held.values[start:stop], offsets, held.times[start:stop])

    def partitions_of(self, topic):
        held = [(PANES, number) for number in self.panes] if topic == PANES else self.records
        return sum(of == topic for of, _ in held)

    def share(self, source):
        """What the range assignor hands to that member."""
        rank, found = self.members.index(source), []
        for topic in source.topics:
            numbers = np.arange(self.partitions_of(topic))
            own = np.array_split(numbers, len(self.members))[rank]
            found += [(topic, int(number)) for number in own]
        return frozenset(found)

    def join(self, source, rank=None):
        self.members.insert(len(self.members) if rank is None else rank, source)
        self.generation += 1

    def leave(self, source):
        if source in self.members:
            self.members.remove(source)
            self.generation += 1

    def tell(self, event):
        """However often and by whom an event is told, it says the same."""
        assert self.told.setdefault(event["id"], event["data"]) == event["data"]


class Source:
    """A member's part of the group, as an `agent.loop.LiveSource`."""

    def __init__(self, group, topics, batch):
        self.group, self.topics, self.batch = group, topics, batch
        self.problem, self.missed = "", {}
        self.is_deaf = False  # no more is known of where partitions end
        self.read = Counter()  # records by topic
        self._generation, self._own = 0, frozenset()
        self._next, self._placed_at, self._ends = {}, {}, {}
        self._paused = frozenset()
        self._last = None  # where partitions ended when it was last answered: of a zombie

    def fall_asleep(self):
        """What it had been answered by now is all that it knows when it wakes up."""
        self._last = {at: self.group.end(at) for at in self._own}

    def wake_up(self):
        self._last = None

    def lose_place(self, at):
        """As where a partition has lost its end: it waits until it is placed again."""
        self._next.pop(at, None)

    def end(self, at):
        return self.group.end(at) if self._last is None else self._last[at]

    def poll(self, timeout):
        group = self.group
        if self in group.members and self._generation != group.generation:
            self._generation, self._own = group.generation, group.share(self)
            self._next, self._placed_at, self._ends = {}, {}, {}
            self._paused = frozenset()
        found = []
        for at in sorted(self._next.keys() - self._paused - group.away):
            start = self._next[at]
            batch = group.read(at, start, min(start + self.batch, self.end(at)))
            if batch is not None:
                self._next[at] = start + len(batch)
                self.read[at[0]] += len(batch)
                found.append(batch)
        return found

    def assignment(self):
        return self._own

    def waiting(self):
        return self._own - self._next.keys()

    def place(self, places):
        for at, offsets in places.items():
            if at not in self._own:
                continue
            group = self.group.committed.get(at, 0)
            start = min(group if offset is None else offset for offset in offsets)
            assert start <= self.group.end(at), "the topic ends before what is remembered of it"
            self._next[at] = self._placed_at[at] = start
            self._ends[at] = self.end(at)
        return True

    @property
    def has_caught_up(self):
        return all(self._next.get(at, 0) >= end for at, end in self._ends.items())

    @property
    def has_joined(self):
        return self._generation > 0

    def partitions_of(self, topic):
        return self.group.partitions_of(topic)

    def pause(self, partitions):
        self._paused = partitions & self._own

    def lag(self):
        known = frozenset() if self.is_deaf else self._next.keys() - self.group.away
        return {at: self.end(at) - self._next[at] if at in known else -1 for at in self._own}

    def commit(self, offsets):
        group = self.group
        if self not in group.members or self._generation != group.generation:
            return False
        owned = {at: n for at, n in (self._placed_at | dict(offsets)).items() if at in self._own}
        group.committed |= owned
        return bool(owned)

    def close(self):
        self.group.leave(self)


class Disk:
    """A member's way to the medium that all share."""

    def __init__(self, medium, group):
        self._medium, self._group = medium, group
        self.problem = ""
        self.is_full, self.seconds, self.left = False, 0.0, None
        self.before = lambda: None  # anything may happen before something is written
        self.writes = []  # when
        self.spent = 0.0  # seconds

    def claim(self, names):
        return self._medium.claim(names)

    def load(self, names):
        return self._medium.load(names)

    def put(self, entries):
        self.before()
        self.writes.append(self._group.now)
        if any(value is not None for _, value in entries):
            self._group.now += self.seconds
            self.spent += self.seconds
        self.problem = "no space is left" if self.is_full else ""
        for entry in [] if self.is_full else entries:
            if self.left == 0:
                raise Died
            self.left = None if self.left is None else self.left - 1
            self._medium.put([entry])
        return not self.is_full

    def close(self):
        pass


class Member:
    """A process: a loop with all that belongs to it.

    With `is_alone` there is no panes topic. `confirms` says whether the broker confirms what it has
    been sent.
    """

    counts = {}  # noqa: RUF012

    def __init__(
        self,
        group,
        config,
        medium,
        batch=200,
        memory=2**24,
        is_alone=False,
        confirms=lambda: True,
        rank=None,
    ):
        self.group, self._confirms = group, confirms
        self.pipeline = Pipeline(config)
        topics = self.pipeline.topics if is_alone else [*self.pipeline.topics, PANES]
        self.source, self.disk = Source(group, topics, batch), Disk(medium, group)
        self.exchange = None
        if not is_alone:
            size = len(group.panes)
            self.exchange = Exchange(self.pipeline, PANES, self, lambda: size, memory)
        checkpoints = Checkpoints(self.disk)
        self.keeper = Keeper(self.pipeline, checkpoints, group.clock, 10.0, self.exchange)
        self.loop = Loop(
            self.source,
            self.pipeline,
            self,
            group.clock,
            keeper=self.keeper,
            exchange=self.exchange,
        )
        group.join(self.source, rank)

    # Of the outlet.
    is_settled = True

    def send(self, topic, key, value, *, partition):
        self.group.panes[partition].append(value)
        return True

    def flush(self, timeout):
        return self._confirms()

    # Of the sink of events.
    def publish(self, event):
        self.group.tell(event)

    def are_told(self):
        return True

    def turn(self):
        """Whether it has read anything."""
        before = self.source.read.total()
        self.loop.turn()
        return self.source.read.total() > before

    def turns(self, count):
        for _ in range(count):
            self.turn()

    def stop(self):
        """End in order."""
        self.loop.run(lambda: True)

    def leave(self):
        """End in order, and say so."""
        self.stop()
        self.source.close()

    def die(self):
        """Without a word; sooner or later the group takes it for dead."""
        self.group.leave(self.source)

    def judges(self, model="credit"):
        found = self.pipeline.model(model)
        return found.is_judged and bool(self.source.assignment())


def quiet(members, most=400):
    """Let all of them take turns until none of them has anything to read."""
    idle = 0
    for _ in range(most):
        idle = 0 if any([member.turn() for member in members]) else idle + 1
        if idle == 3:
            return
    raise AssertionError("they never finish")


def finish(group, members, until, step=60):
    """Let all of them read to the end, and the clock close what is left up to that time."""
    while group.now < until - QUIET:
        quiet(members)
        group.now = min(group.now + step, until - QUIET)
    quiet(members)
    for member in members:
        at_end = member.source.lag()
        assert set(at_end.values()) <= {0}, at_end
    group.now = until
    for member in members:
        member.turn()
    # From here on the clock closes no more: all end at the same time, whatever they have to do yet.
    for member in members:
        member.source.is_deaf = True
    for _ in range(6):
        group.now += 11
        quiet(members)
    folds = [f for m in members for o in m.pipeline.started() for f in o.folds.values()]
    assert members[0].exchange is None or not any(fold.outbox for fold in folds)
    for member in members:
        member.stop()


def remembered(medium, models=("credit",), partitions=0):
    """All records, without what depends on how they came about."""
    names = [n for m in models for n in (m, *(f"{m}:{number}" for number in range(partitions)))]
    found = {name: held.payload for name, held in Checkpoints(medium).open(names).items()}
    return {name: (_fold if ":" in name else _model)(payload) for name, payload in found.items()}


def _model(payload):
    state = record.decode_model(payload, None).state
    merge = replace(state.merge, facts={})
    state = replace(state, merge=merge, taken=0, taken_of=("", 0), untold=())
    return record.CODEC.encode("model", record.VERSION, "", state)


def _fold(payload):
    state = record.CODEC.decode("fold", record.VERSION, None, record._unpacked(payload))
    return record.CODEC.encode("fold", record.VERSION, "", replace(state, outbox=()))


def rows(medium, layout, model="credit", partitions=0):
    """Predictions that are judged, and those that partitions have counted."""
    names = [model, *(f"{model}:{number}" for number in range(partitions))]
    found = {name: held.payload for name, held in Checkpoints(medium).open(names).items()}
    column = layout.pane_cells.inputs.columns[-1]  # of which every prediction has one cell
    state = record.decode_model(found.pop(model), layout).state
    folds = [record.decode_fold(layout, payload) for payload in found.values()]
    judged = int(state.detected_total[column.start : column.stop].sum())
    return judged, sum(sum(fold.counters.predictions.values()) for fold in folds)


def calm(config, records, until, models=("credit",), partitions=0):
    """What one agent remembers and tells, that reads all of it undisturbed."""
    group, medium = Group(records, until - 3 * QUIET), Memory()
    finish(group, [Member(group, config, medium, 400, is_alone=True)], until)
    return remembered(medium, models, partitions), group.told
