"""From closed panes to alarms: what detectors are shown, and that splitting it changes nothing."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.detection import Detection, DetectionState
from agent.panes import Entries, summed
from agent.ticks import TickState
from detectors.budget import BudgetState, Clear, Ring
from detectors.codec import Codec
from detectors.evidence import RatioDetector, Stream
from detectors.ratio import rate_table
from detectors.traffic.reference import TrafficProfile
from detectors.traffic.volume import Traffic, traffic_table

PANE, TICK = 10, 30
INPUTS, ERRORS = 2, 2
SECTIONS = {"inputs": slice(0, INPUTS), "errors": slice(INPUTS, INPUTS + ERRORS)}
COUNTED = slice(0, INPUTS)
CODEC = Codec([DetectionState, BudgetState, TickState])


@dataclass
class Witness:
    """A detector that only notes what it is shown."""

    runs: list = field(default_factory=list)
    stream: Stream = field(default=Stream("witness", "all", "drift", "ticket", 1))

    def start(self):
        return None

    def step(self, memory, run):
        if len(run):
            self.runs.append(run)
        return None, np.zeros((len(run), 1))

    def shown(self, name):
        return np.concatenate(
            [run.time if name == "time" else run.sections[name] for run in self.runs]
        ).tolist()


def entries(rows):
    """Entries from (pane, cell)."""
    made = [Entries(*(np.array([v]) for v in (p, p, c, 1))) for p, c in rows]
    return summed(made)


def in_steps(detection, rows, until, cuts):
    """Close everything up to `until` (panes), cut at these panes; rows are (pane, cell)."""
    state, happened = detection.start(), []
    edges = [*sorted({c for c in cuts if c < until}), until]
    before = -1
    for edge in edges:
        part = [r for r in rows if before <= r[0] < edge]
        state, new = detection.step(state, entries(part), edge * PANE)
        happened += new
        before = edge
    return state, happened


def told_ticks(rows, until):
    """Ticks as (first, ticks, predictions), found by looking at each of them in turn."""
    occupied = Counter(p * PANE // TICK for p, cell in rows if cell < INPUTS)
    told, silent, pending = [], 0, 0
    for tick in range(min(occupied) + 1, until * PANE // TICK) if occupied else ():
        if tick in occupied:
            told.append((tick - pending, pending + 1, occupied[tick]))
            silent = pending = 0
            continue
        silent, pending = silent + 1, pending + 1
        if silent <= 64 or silent & (silent - 1) == 0:
            told.append((tick - pending + 1, pending, 0))
            pending = 0
    return told


panes = st.lists(
    st.tuples(st.integers(0, 90) | st.sampled_from([300, 1000, 1002, 2000]), st.integers(0, 3)),
    max_size=12,
)
cuts = st.lists(st.integers(0, 100) | st.integers(0, 2100), max_size=6)


@given(panes, cuts, st.integers(1, 2100))
# A tick with rows in its first pane only, closed pane by pane.
@example([(0, 0), (9, 0), (40, 0)], list(range(50)), 60)
@settings(max_examples=300, deadline=None)
def test_detectors_are_shown_each_pane_with_rows_and_the_ticks_that_tell(rows, cuts, until):
    witness = Witness()
    rates = {"page": 1e-12, "ticket": 1e-12}
    detection = Detection([witness], SECTIONS, PANE, TICK, rates, COUNTED)
    in_steps(detection, rows, until, cuts)
    rows = [r for r in rows if r[0] < until]
    told = told_ticks(rows, until)
    ticks = {(first + number) * TICK: [first, number, n] for first, number, n in told}
    times = sorted({(p + 1) * PANE for p, _ in rows} | set(ticks))
    if not times:
        assert witness.runs == []
        return
    assert witness.shown("time") == times
    assert witness.shown("ticks") == [ticks.get(t, [0, 0, 0]) for t in times]
    for name, first, width in (("inputs", 0, INPUTS), ("errors", INPUTS, ERRORS)):
        expected = [
            [sum((p + 1) * PANE == t and c == first + i for p, c in rows) for i in range(width)]
            for t in times
        ]
        assert witness.shown(name) == expected


def traffic(tick, mean, target="traffic"):
    """A detector of silence for traffic of so many predictions a tick, at any hour."""
    hours = (mean,) * 168
    reference = TrafficProfile(tick, 1000, 1.0, 1, hours, hours, hours, 1e6)
    factors = (0.01, 0.5)
    stream = Stream("silence", target, "silence", "page", 2, "calibrated")
    return Traffic(stream, reference, traffic_table(reference, factors))


def ringing():
    """Detectors of a share, of errors and of silence, with budgets so generous that they ring."""
    share = rate_table(0.4, np.array([0.6, 0.9]))
    return Detection(
        [
            RatioDetector(
                Stream("share", "a", "drift", "ticket", 2), "inputs", np.arange(2), share
            ),
            RatioDetector(
                Stream("wrong", "b", "accuracy", "page", 2), "errors", np.arange(2), share
            ),
            traffic(TICK, 1.0, "c"),
        ],
        SECTIONS,
        PANE,
        TICK,
        {"page": 1e-3, "ticket": 1e-3},
        COUNTED,
    )


@given(panes, cuts, st.integers(1, 2100))
@settings(max_examples=200, deadline=None)
def test_closing_in_parts_gives_the_same_alarms_and_state(rows, cuts, until):
    whole, happened = in_steps(ringing(), rows, until, [])
    parted, parts = in_steps(ringing(), rows, until, cuts)
    assert parts == happened
    assert CODEC.encode("s", 1, "p", parted) == CODEC.encode("s", 1, "p", whole)


def test_more_steps_than_are_taken_at_once_change_nothing():
    random = np.random.default_rng(3)
    rows = [(int(p), int(c)) for p in range(1500) for c in random.integers(0, 4, 3)]
    whole, happened = in_steps(ringing(), rows, 1500, [])
    parted, parts = in_steps(ringing(), rows, 1500, range(0, 1500, 7))
    assert len(happened) > 1
    assert parts == happened
    assert CODEC.encode("s", 1, "p", parted) == CODEC.encode("s", 1, "p", whole)


def test_a_year_of_silence_costs_few_steps():
    witness = Witness()
    minute, year = 60_000, 365 * 86_400_000
    rates = {"page": 1e-12, "ticket": 1e-12}
    detection = Detection([witness], SECTIONS, 10_000, minute, rates, COUNTED)
    state, _ = detection.step(detection.start(), entries([(0, 0)]), 10_000)
    detection.step(state, entries([(year // 10_000, 0)]), year + minute)
    steps = sum(len(run) for run in witness.runs)
    assert steps < 64 + 168 + 20
    words = [word for word in witness.shown("ticks") if word[1]]
    assert words[-1][0] + words[-1][1] == year // minute + 1
    assert [count for *_, count in words] == [0] * (len(words) - 1) + [1]
    ends = [first + number for first, number, _ in words]
    assert [first for first, *_ in words] == [1, *ends[:-1]]  # each tick once
    within_a_week = [number for first, number, _ in words if first + number <= 7 * 1440]
    assert max(within_a_week) == 60  # told every hour


def test_silence_rings_and_returning_traffic_clears():
    rates = {"page": 1e-9, "ticket": 1e-9}
    detection = Detection([traffic(30_000, 3.0)], SECTIONS, 10_000, 30_000, rates, COUNTED)
    before = [(p, 0) for p in range(0, 300)]
    after = [(p, 0) for p in range(900, 1200)]
    _, happened = detection.step(detection.start(), entries(before + after), 12_000_000)
    assert [type(h.what) for h in happened] == [Ring, Clear]
    ring, clear = (h.what for h in happened)
    assert 3_000_000 < ring.time < 3_600_000
    assert ring.onset == 3_000_000
    assert clear.time > 9_000_000


def test_a_ring_says_what_the_others_knew():
    rows = [(p, 1) for p in range(60)] + [(p, 3) for p in range(60)]
    _, happened = ringing().step(ringing().start(), entries(rows), 600)
    rings = [h for h in happened if isinstance(h.what, Ring)]
    assert {h.severity for h in rings} == {"page", "ticket"}
    for ring in rings:
        assert set(ring.gathered) == {("share", "a"), ("wrong", "b"), ("silence", "c")}
        assert ring.gathered["share", "a"] > 1
        assert ring.gathered["wrong", "b"] > 1


@pytest.mark.parametrize("tick", [0, TICK])
def test_no_traffic_at_all_is_not_judged(tick):
    witness = Witness()
    detection = Detection([witness], SECTIONS, PANE, tick, {"page": 1.0, "ticket": 1.0}, COUNTED)
    state, happened = detection.step(detection.start(), entries([]), 10**9)
    assert (witness.runs, happened) == ([], [])
    detection.step(state, entries([(10**8, 3)]), 10**9 + 100)  # a joined row is no traffic
    assert witness.shown("ticks") == [[0, 0, 0]]
