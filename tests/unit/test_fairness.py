"""Fairness gaps: exact whatever the rates and the mix of groups are, and found when they widen."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom, poisson

from detectors.batch import Batch, CategoricalFeature, Schema
from detectors.budget import Budget, Ring
from detectors.cells import InputCells
from detectors.evidence import PaneRun
from detectors.fairness.contingency import closest, slopes
from detectors.fairness.gap import BLOCK, ErrorGap, OpportunityGap, SelectionGap
from detectors.profile import build_profile
from detectors.registry import calibrated, default_detectors

SEXES = ("m", "f")
REGIONS = ("a", "b", "c")
PROMISE = 100_000  # events a false alarm is tolerated in
EVENT = 1000  # milliseconds from one event to the next
IN_CONTROL = 2_000_000  # events
PANE = 1000
MOST = poisson.ppf(0.99, IN_CONTROL / PROMISE)


def schema(groups, task="binary"):
    classes = ("0", "1") if task == "binary" else ("0", "1", "2")
    return Schema(task, (), (CategoricalFeature("sex", groups),), classes, protected=("sex",))


def batch(category, prediction):
    n = len(category)
    return Batch(
        np.arange(n) * EVENT,
        np.arange(n).astype(np.uint64),
        np.zeros(n, dtype=np.int32),
        np.zeros((n, 0)),
        np.zeros((n, 0), dtype=bool),
        np.asarray(category, dtype=np.int32)[:, None],
        np.asarray(prediction, dtype=float),
        np.full((n, 1), np.nan),
        np.full(n, np.nan),
    )


def profile(rates, mix, rng, n=20_000):
    """A binary model that selects so many of each group."""
    groups = SEXES if len(rates) == 2 else REGIONS
    category = rng.choice(len(rates), n, p=mix)
    rows = batch(category, rng.random(n) < np.array(rates)[category])
    return build_profile(schema(groups), rows, None, 10_000)


def gaps(of):
    found = [d for d in default_detectors(of, InputCells(of)) if d.stream.kind == "fairness"]
    return {(d.stream.detector, d.stream.target): d for d in found}


def panes(rates, mix, rng, events=IN_CONTROL, pane=PANE):
    """Panes of predictions: the counts of the section that a selection gap reads."""
    rows = rng.multinomial(pane, mix, events // pane)
    selected = rng.binomial(rows, rates)
    counts = np.stack([rows - selected, selected], axis=2).reshape(len(rows), -1)
    time = (np.arange(len(rows)) + 1) * pane * EVENT
    return PaneRun(time, {"selection": counts.astype(np.int64)})


def rings(detector, run, memory=None):
    memory = detector.start() if memory is None else memory
    budget = Budget([detector.stream], 1 / (PROMISE * EVENT))
    _, happened = budget.step(budget.start(), run.time, detector.step(memory, run)[1])
    return [h for h in happened if isinstance(h, Ring)]


@pytest.mark.parametrize("gap", [-0.3, -0.02, 0.0, 0.05, 0.4])
@pytest.mark.parametrize("weight", [0.02, 0.5, 0.9])
def test_the_closest_rates_are_those_of_a_fine_grid(gap, weight):
    q_a, q_b = np.array(0.47), np.array(0.06)
    b = np.linspace(max(0, -gap), min(1, 1 - gap), 2_000_003)[1:-1]

    def divergence(q, p):
        return q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))

    whole = weight * divergence(q_a, b + gap) + (1 - weight) * divergence(q_b, b)
    p_a, p_b = closest(np.array(weight), q_a, q_b, np.array(gap))
    assert p_b == pytest.approx(b[np.argmin(whole)], abs=1e-6)
    assert p_a - p_b == pytest.approx(gap, abs=1e-15)


NULL = [(0.01, 0.0), (0.01, 0.05), (0.2, -0.3), (0.2, 0.05), (0.5, 0.05), (0.6, 0.0), (0.94, 0.05)]


@pytest.mark.parametrize(("q_a", "q_b"), [(0.15, 0.05), (0.55, 0.4), (0.98, 0.7)])
@pytest.mark.parametrize(("base", "gap"), [n for n in NULL if 0 <= n[0] + n[1] <= 1])
def test_a_likelihood_ratio_has_a_mean_of_at_most_one_at_any_base_rate(base, gap, q_a, q_b):
    """Whatever the base rate, and up to the null's limit of .05, in panes of any mix.

    Exact: the mean is E[q_a/p_a]^n_a E[q_b/p_b]^n_b.
    """
    n_a, n_b = (n.ravel() for n in np.mgrid[1:30, 1:60])
    p = closest(n_a / (n_a + n_b), np.array(q_a), np.array(q_b), np.array(0.05))
    (a0, a1), (b0, b1) = slopes(np.array(q_a), p[0]), slopes(np.array(q_b), p[1])
    true_a, true_b = base + gap, base
    mean = ((1 - true_a) * np.exp(a0) + true_a * np.exp(a1)) ** n_a
    mean *= ((1 - true_b) * np.exp(b0) + true_b * np.exp(b1)) ** n_b
    assert (mean <= 1 + 1e-9).all()
    # Without p* following the base rate this breaks: the null's rates as if they were known.
    if (base, gap, q_a) == (0.6, 0.0, 0.55):
        naive = ((1 - true_a) * (1 - q_a) / 0.9 + true_a * q_a / 0.1) ** n_a
        assert (naive > 1).all()


@pytest.mark.parametrize("base", [0.04, 0.3, 0.9])
def test_steps_have_a_mean_of_at_most_one_at_the_edge_of_the_null(base):
    """With the memory's own alternatives; three groups, so that the rest is a mix."""
    rng = np.random.default_rng(5)
    reference = np.array([0.3, 0.3, 0.27])
    of = profile(reference, [0.5, 0.3, 0.2], rng, 200_000)
    detector = gaps(of)["selection_gap", "sex=a"]
    shift = np.full(3, base) - 0.3
    shift[0] += 0.0199  # of a tolerance of .02 at least
    run = panes(reference + shift, [0.2, 0.2, 0.6], rng, 600_000, 30)
    e = np.exp(detector.step(detector.start(), run)[1])
    assert (e.mean(axis=0) <= 1 + 4 * e.std(axis=0) / np.sqrt(len(e))).all()
    assert e.mean(axis=0).max() > 0.9, "and no evidence is given away"


CONTROL = {
    "as in the reference": (None, None),
    "all selected more often": (0.3, None),
    "all selected less often": (-0.25, None),
    "more of the group": (None, (0.2, 0.8)),
    "hardly any of the group": (0.1, (0.98, 0.02)),
}


@pytest.mark.parametrize("change", CONTROL)
@pytest.mark.parametrize("rates", [(0.4, 0.4), (0.5, 0.3)])
def test_what_hits_both_groups_alike_and_another_mix_ring_no_more_than_promised(rates, change):
    rng = np.random.default_rng(8)
    detector = gaps(profile(rates, [0.6, 0.4], rng))["selection_gap", "sex=f"]
    shift, mix = CONTROL[change]
    run = panes(np.array(rates) + (shift or 0.0), mix or (0.6, 0.4), rng)
    assert len(rings(detector, run)) <= MOST


def test_three_groups_in_another_mix_ring_no_more_than_promised():
    """The rest's own rate moves from .55 to .28 then, and no group's does."""
    rng = np.random.default_rng(9)
    rates = [0.4, 0.6, 0.2]
    found = gaps(profile(rates, [0.2, 0.7, 0.1], rng))
    assert [target for _, target in found] == ["sex=a", "sex=b", "sex=c"]
    for detector in found.values():
        assert len(rings(detector, panes(rates, [0.2, 0.2, 0.6], rng))) <= MOST
        assert rings(detector, panes([0.5, 0.5, 0.1], [0.2, 0.2, 0.6], rng, 100_000))


@pytest.mark.parametrize(
    ("shift", "widened", "within"),
    [(0, 0.05, 16_000), (0, -0.1, 3_500), (0, 0.2, 1_000), (0.25, 0.1, 3_500), (0.25, -0.2, 1_000)],
)
def test_a_widened_gap_rings(shift, widened, within):
    """Median delay in events, either way, at the reference's base rate and at another."""
    rng = np.random.default_rng(4)
    rates = np.array([0.4, 0.35])
    delays = []
    for _ in range(9):
        detector = gaps(profile(rates, [0.6, 0.4], rng, 50_000))["selection_gap", "sex=f"]
        memory, _ = detector.step(
            detector.start(), panes(rates + shift, [0.6, 0.4], rng, 10_000, 50)
        )
        run = panes(rates + shift + [0, widened], [0.6, 0.4], rng, 60_000, 50)
        rung = rings(detector, run, memory)
        delays.append(rung[0].time / EVENT if rung else np.inf)
    assert np.median(delays) <= within


def test_single_events_are_gathered_until_there_is_something_to_compare():
    rng = np.random.default_rng(3)
    detector = gaps(profile([0.4, 0.4], [0.6, 0.4], rng))["selection_gap", "sex=f"]
    run = panes([0.4, 0.2], [0.6, 0.4], rng, 4_000, 1)
    memory, evidence = detector.step(detector.start(), run)
    rows = run.sections["selection"].reshape(-1, 2, 2).sum(axis=2)
    blocks = np.flatnonzero(evidence.any(axis=1))
    assert (np.add.reduceat(rows, [0, *(blocks[:-1] + 1)])[:-1] >= BLOCK).all()
    assert len(blocks) > 4_000 / (4 * BLOCK)
    assert rings(detector, run)
    assert (memory.waiting[0] == rows[blocks[-1] + 1 :].sum(axis=0)[::-1]).all()


def labelled(prediction, label, category, task="binary"):
    rows = batch(category, prediction)
    if task == "multiclass":
        rows = replace(rows, score=np.full((len(rows), 3), np.nan))
    made = build_profile(schema(SEXES, task), rows, np.asarray(label, dtype=float), 10_000)
    return calibrated(made, rows, np.asarray(label, dtype=float))


def test_of_two_groups_the_smaller_is_watched_and_each_question_needs_its_rows():
    rng = np.random.default_rng(2)
    category = (np.arange(4_000) % 4 == 0).astype(int)
    prediction, label = rng.random((2, 4_000)) < 0.5
    kinds = ["selection_gap", "error_gap", "opportunity_gap"]
    found = gaps(labelled(prediction, label, category))
    assert list(found) == [(kind, "sex=f") for kind in kinds]
    assert {type(d) for d in found.values()} == {SelectionGap, ErrorGap, OpportunityGap}
    assert {d.stream.severity for d in found.values()} == {"page"}
    few = label & ((category == 0) | (np.cumsum(label & (category == 1)) <= 150))
    assert [kind for kind, _ in gaps(labelled(prediction, few, category))] == kinds[:2]
    unknown = np.where(category == 1, np.nan, label)
    assert [kind for kind, _ in gaps(labelled(prediction, unknown, category))] == kinds[:1]
    made = labelled(prediction, label, category, "multiclass")
    assert list(gaps(made)) == [("error_gap", "sex=f")]
    assert not gaps(labelled(prediction, label, np.zeros(4_000)))


def runs(n, stay, rng):
    """Uniform numbers, each held for a while: 1 / (1 - stay) events on average."""
    fresh = rng.random(n) > stay
    return rng.random(n)[np.maximum.accumulate(np.where(fresh, np.arange(n), 0))]


def dependent(n, rng):
    """Groups and predictions: those of a group come in runs of about twenty events."""
    category = (rng.random(n) < 0.4).astype(int)
    return category, np.where(category == 0, runs(n, 0.95, rng), runs(n, 0.95, rng)) < 0.4


def test_dependence_within_groups_is_tempered_and_a_common_tide_is_not():
    rng = np.random.default_rng(7)
    n = 60_000
    category, in_runs = dependent(n, rng)
    tide = rng.random(n) < 0.5 + 0.4 * np.sin(np.arange(n) / 500)
    made = {
        name: labelled(prediction, np.zeros(n), category)
        for name, prediction in (("runs", in_runs), ("tide", tide), ("none", rng.random(n) < 0.4))
    }
    found = {name: gaps(of)["selection_gap", "sex=f"] for name, of in made.items()}
    basis = {name: detector.stream.basis for name, detector in found.items()}
    assert basis == {"runs": "calibrated", "tide": "exact", "none": "exact"}
    category, in_runs = dependent(IN_CONTROL, rng)
    cell = np.arange(IN_CONTROL) // PANE * 4 + 2 * category + in_runs
    time = (np.arange(IN_CONTROL // PANE) + 1) * PANE * EVENT
    run = PaneRun(time, {"selection": np.bincount(cell).reshape(-1, 4)})
    # Fresh starts: an alarm that stands would hide others.
    parts = [run.take(slice(i, i + 20)) for i in range(0, len(run), 20)]
    most = binom.ppf(0.99, len(parts), 20 * PANE / PROMISE)
    assert sum(bool(rings(found["runs"], part)) for part in parts) <= most
    naive = gaps(replace(made["runs"], tempers={}))["selection_gap", "sex=f"]
    assert sum(bool(rings(naive, part)) for part in parts) > most, "what the tempers are for"
