"""The detection benchmark: repeatable, and right about what can be known without it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.detection import competitors, oracle, report
from benchmarks.detection.harness import (
    BUDGET,
    Delays,
    Rate,
    Results,
    control_stream,
    rule_delays,
    tocsin_delays,
    tocsin_rate,
)
from benchmarks.detection.streams import (
    AR5,
    AR9,
    INDEPENDENT,
    NUMERIC,
    PROCESSES,
    SEASON,
    UNITS,
    Change,
    latent,
    seeded,
    series,
)
from benchmarks.detection.tocsin import Watch

MEAN_1 = next(c for c in NUMERIC if c.name == "mean +1 sd")
STILL = Change("no change", "numeric", lambda z, since: z)


@pytest.mark.parametrize("unit", UNITS)
def test_the_same_seed_gives_the_same_figures(unit: str) -> None:
    def figures() -> tuple[Rate, Delays]:
        watches = [Watch(unit, AR5, 2_000, draw, BUDGET) for draw in range(2)]
        change = replace(MEAN_1, unit=unit, rate=0.5)
        rate = tocsin_rate(watches, AR5, 5_000, 100)
        return rate, tocsin_delays(watches, change, AR5, 2, 3_000, 100)

    rate, delays = figures()
    assert (rate, delays) == figures()
    assert rate.events == 10_000
    assert delays.misses == 0


def test_other_parts_of_the_benchmark_have_other_events() -> None:
    one, other = (control_stream("numeric", INDEPENDENT, 100, part) for part in ("a", "b"))
    assert not np.isin(one, other).any()


@pytest.mark.parametrize("process", PROCESSES, ids=lambda p: p.name)
def test_processes_have_the_dependence_they_are_named_for(process) -> None:
    z = latent(process, (400, 200), seeded("test"))
    assert z.std() == pytest.approx(1, abs=0.03)
    assert np.corrcoef(z[:, :-1].ravel(), z[:, 1:].ravel())[0, 1] == pytest.approx(
        process.rho, abs=0.02
    )


@pytest.mark.parametrize("change", NUMERIC, ids=lambda c: c.name)
def test_changes_are_what_they_are_called(change: Change) -> None:
    z = seeded("test").standard_normal(400_000)
    x = change.form(z, np.full(len(z), 1e9))
    third = ((x - x.mean()) ** 3).mean()
    variance = {"variance x0.5": 0.5, "variance x1.5": 1.5, "variance x2.25": 2.25}
    means = {"mean +0.25 sd": 0.25, "mean +0.5 sd": 0.5, "mean +1 sd": 1}
    ends_at = 1.0 if change.over else 0.0
    assert x.mean() == pytest.approx(means.get(change.name, ends_at), abs=0.01)
    assert x.var() == pytest.approx(variance.get(change.name, 1), rel=0.02)
    assert third == pytest.approx(1 if change.name == "skew" else 0, abs=0.05)


def test_a_rate_is_the_stated_one_in_every_process() -> None:
    for process in (INDEPENDENT, AR5, SEASON):
        values = series("error", process, 240_000, seeded("test", process.name))
        assert values.mean() == pytest.approx(0.1, abs=0.006)


def test_the_control_rings_at_its_nominal_rate() -> None:
    found = competitors.every(1_000)(np.zeros(100_000), None)
    assert len(found) == 100
    assert Rate(len(found), 100_000).per_million == 1_000
    phases = [competitors.every(10_000, phase) for phase in range(0, 10_000, 100)]
    delays = rule_delays(phases, STILL, INDEPENDENT, 100, 1_000)
    assert 100 - delays.misses == pytest.approx(10, abs=4)


def test_the_poisson_interval_is_exact() -> None:
    assert Rate(0, 10**6).interval == pytest.approx((0, 3.689), abs=0.001)
    assert Rate(10, 10**6).interval == pytest.approx((4.795, 18.390), abs=0.001)


@pytest.mark.parametrize("process", [INDEPENDENT, AR9], ids=lambda p: p.name)
def test_the_oracle_has_the_rate_it_is_tuned_to(process) -> None:
    rate = 1 / 2_000
    limit = oracle.cusum_limit(MEAN_1, process, rate, seeded("tune"), (1_000, 1_000))
    steps = oracle.simulate(MEAN_1, process, (1_000, 1_000), seeded("check"))
    assert oracle.alarms(steps, limit) == pytest.approx(rate * steps.size, rel=0.2)


def test_the_oracle_s_ratios_have_the_mean_of_likelihood_ratios() -> None:
    for change in (c for c in NUMERIC if not c.over and c.name != "variance x2.25"):
        steps = oracle.simulate(change, AR5, (200, 2_000), seeded("test"))[:, 1:]
        assert np.exp(steps).mean() == pytest.approx(1, abs=0.02), change.name


def run_length(limit: float, mean: float, states: int = 400) -> float:
    """Expected events to an alarm of a CUSUM of normal steps from 0 (Brook and Evans, 1972)."""
    width = limit / (states - 0.5)  # state 0 is half as wide: all that is 0 or below
    at = width * np.arange(states)
    edges = np.concatenate([[-np.inf], at + width / 2])
    share = norm.cdf(edges[None, :], loc=at[:, None] + mean)
    moves = np.diff(share, axis=1)
    return float(np.linalg.solve(np.eye(states) - moves, np.ones(states))[0])


def test_the_oracle_s_run_lengths_are_those_of_theory() -> None:
    # The log likelihood ratio of a shift by 1 is x - 1/2: normal steps of mean -1/2, then 1/2.
    limit, shape = 5.0, (2_000, 400)
    quiet = oracle.simulate(MEAN_1, INDEPENDENT, (2_000, 1_000), seeded("quiet"))
    expected = quiet.size / run_length(limit, -0.5)
    assert oracle.alarms(quiet, limit) == pytest.approx(expected, rel=0.1)
    steps = oracle.simulate(MEAN_1, INDEPENDENT, shape, seeded("delay"), at=0)
    found = oracle.delays(steps, limit, 0).mean()
    assert found == pytest.approx(run_length(limit, 0.5), rel=0.03)


def test_a_miss_counts_as_infinite() -> None:
    delays = Delays((10.0, np.inf, 20.0, 30.0))
    assert (delays.quantile(0.5), delays.quantile(0.9), delays.misses) == (20.0, np.inf, 1)
    assert report.shown(delays) == "20 (never), 25% missed"


def test_a_change_that_neither_finds_is_no_goal_met() -> None:
    late, never = Delays((30.0,)), Delays((np.inf,))
    assert report.beside(never, never, report.met) == "neither finds it"
    assert report.beside(late, never, report.met) == "met"
    assert report.beside(never, late, report.met) == "**not met**"


def test_windows_ring_as_often_as_their_level() -> None:
    reference = control_stream("numeric", INDEPENDENT, 50_000, "reference")
    values = control_stream("numeric", INDEPENDENT, 1_000_000, "windows")
    assert len(competitors.kolmogorov_smirnov(reference)(values, None)) == pytest.approx(50, abs=25)
    assert competitors.psi(reference)(values, None) == []


def test_figures_go_between_the_markers(tmp_path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    results = Results(rates={("numeric", "independent", "Tocsin 1"): Rate(0, 10**6)})
    report.write(report.in_control(results)[0], page)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("\nafter\n")
    assert "old" not in text and "0.0 to 3.7 | met" in text
    assert report.BEGIN in report.PAGE.read_text()
