"""The detection benchmark: repeatable, and right about what can be known without it."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import norm

from benchmarks.detection import competitors, oracle, report
from benchmarks.detection.command import parser
from benchmarks.detection.field import tuned
from benchmarks.detection.figures import Delays, Rate, Results
from benchmarks.detection.goals import Beside
from benchmarks.detection.harness import has_oracle, measure
from benchmarks.detection.judge import whole
from benchmarks.detection.others import rule_delays
from benchmarks.detection.own import tocsin_delays, tocsin_rates, tocsin_recurrences, tune
from benchmarks.detection.plan import BUDGET, Size, control_stream, recurrence
from benchmarks.detection.streams import (
    AR5,
    AR9,
    CHANGES,
    INDEPENDENT,
    MILLISECONDS,
    NUMERIC,
    PROCESSES,
    SEASON,
    UNITS,
    Change,
    latent,
    seeded,
    series,
)
from benchmarks.detection.tables import recurred, shown
from benchmarks.detection.tocsin import WATCHER, Setting, Watch, pane_ends
from benchmarks.detection.tuning import Trial, multiplier

MEAN_1 = next(c for c in NUMERIC if c.name == "mean +1 sd")
STILL = Change("no change", "numeric", lambda z, since: z)


def numeric(reference: int, draw: int = 0) -> Watch:
    return Watch("numeric", INDEPENDENT, reference, draw, BUDGET)


@pytest.mark.parametrize("unit", UNITS)
def test_the_same_seed_gives_the_same_figures(unit: str) -> None:
    change = replace(MEAN_1, unit=unit, rate=0.5, correlation=0.9, chance=lambda s: 0 * s + 0.5)

    watches = [Watch(unit, AR5, 2_000, draw, BUDGET) for draw in range(2)]

    def figures() -> tuple[Rate, Delays]:
        (rate,), _ = tocsin_rates(watches, AR5, 5_000, 100, (Setting(),))
        (delays,) = tocsin_delays(watches, change, AR5, Size(runs=2, horizon=3_000), 100)
        return rate, delays

    rate, delays = figures()
    assert (rate, delays) == figures()
    assert rate.events == 10_000
    if WATCHER[unit] in [(s.detector, s.target) for s in watches[0].streams]:
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
    x = change.form(z, np.full(len(z), 3e9 + 1))  # the first event of an occurrence
    third = ((x - x.mean()) ** 3).mean()
    variance = {"variance x0.5": 0.5, "variance x1.5": 1.5, "variance x2.25": 2.25}
    means = {"mean +0.25 sd": 0.25, "mean +0.5 sd": 0.5, "mean +1 sd": 1}
    ends_at = 1.0 if change.over else 0.5 if change.lasts else 0.0
    assert x.mean() == pytest.approx(means.get(change.name, ends_at), abs=0.01)
    assert x.var() == pytest.approx(variance.get(change.name, 1), rel=0.02)
    assert third == pytest.approx(1 if change.name == "skew" else 0, abs=0.05)


def test_a_rate_is_the_stated_one_in_every_process() -> None:
    for process in (INDEPENDENT, AR5, SEASON):
        values = series("error", process, 240_000, seeded("test", process.name))
        assert values.mean() == pytest.approx(0.1, abs=0.006)


def test_features_correlate_and_scores_are_calibrated_until_they_change() -> None:
    for change in (c for c in CHANGES if c.unit == "correlation"):
        both = series("correlation", AR5, 400_000, seeded("test"), change=change, at=200_000)
        before, after = both[:200_000].T, both[200_000:].T
        assert np.corrcoef(before)[0, 1] == pytest.approx(0, abs=0.01)
        assert np.corrcoef(after)[0, 1] == pytest.approx(change.correlation, abs=0.01)
        assert after.var(axis=1) == pytest.approx(1, abs=0.03)
    for change in (c for c in CHANGES if c.unit == "calibration"):
        both = series("calibration", AR5, 400_000, seeded("test"), change=change, at=200_000)
        for part, chance in ((both[:200_000], lambda s: s), (both[200_000:], change.chance)):
            near = part[np.abs(part[:, 0] - 0.3) < 0.03]
            assert near[:, 1].mean() == pytest.approx(chance(near[:, 0]).mean(), abs=0.02)
            assert part[:, 0].mean() == pytest.approx(0.5, abs=0.01)


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
    heavy = ("variance x2.25",)  # whose ratio has no variance
    for change in (c for c in CHANGES if has_oracle(c, INDEPENDENT) and c.name not in heavy):
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
    assert shown(delays) == "20 (never), 25% missed"


def test_a_change_that_neither_finds_is_no_goal_met() -> None:
    late, never = Delays((30.0,)), Delays((np.inf,))

    def not_behind(own: Delays, rival: Delays) -> bool | None:
        return Beside("", "", 5_000, 100, own, own, own, None, rival).not_behind

    assert not_behind(never, never) is None
    assert not_behind(late, never) is True
    assert not_behind(late, late) is True
    assert not_behind(never, late) is False


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


def test_long_before_a_change_panes_are_coarse() -> None:
    assert pane_ends(1_000, 100).tolist() == list(range(100, 1_001, 100))
    ends = pane_ends(1_000, 1, at=450)
    assert ends.tolist() == [100, 200, *range(201, 1_001)]


def test_the_features_evidence_is_the_same_however_events_are_cut_into_panes() -> None:
    values, watch = control_stream("numeric", INDEPENDENT, 2_000, "panes"), numeric(10_000)
    made = [
        whole(list(watch.evidence(values, 0, pane_ends(2_000, pane), seeded("rest"))))
        for pane in (1, 100)
    ]
    assert watch.streams[0].detector == "numeric_drift"
    fine, coarse = (m.log_e[:, : watch.streams[0].alternatives].sum(axis=0) for m in made)
    assert np.allclose(fine, coarse)
    assert [len(m.time) for m in made] == [2_000, 20]
    assert made[0].time[-1] == made[1].time[-1] == 2_000 * MILLISECONDS


def test_a_trial_rings_as_often_as_the_budget_itself() -> None:
    watches = [numeric(2_000, draw) for draw in range(2)]
    made = []
    for draw, watch in enumerate(watches):
        values = control_stream("numeric", INDEPENDENT, 10_000, draw, 2_000)
        parts = watch.evidence(values, 2_000, pane_ends(10_000, 10), seeded("rest"))
        made.append(whole(list(parts)))
    trial = Trial([w.budget(Setting()) for w in watches], made)
    for times in (1.0, 1_000.0, 4_000.0):
        judges = [watch.judges(2_000, (Setting(times),))[0] for watch in watches]
        for judge, evidence in zip(judges, made, strict=True):
            judge.see(evidence)
        assert trial.alarms(times) == sum(len(judge.alarms) for judge in judges)
    assert trial.alarms(4_000.0) > trial.alarms(1_000.0) > 0
    assert trial.alarms(4_000.0, enough=3) < trial.alarms(4_000.0)


def test_the_multiplier_gives_the_rate_that_is_asked_for() -> None:
    watches = [numeric(2_000, draw) for draw in range(4)]
    often = 4_000  # events in which one false alarm is asked for
    shared, alone = tune(watches, INDEPENDENT, 400_000, 100, often, (False, True))
    settings = (shared, Setting(shared.multiplier / 4), alone)
    (rate, less, other), _ = tocsin_rates(watches, INDEPENDENT, 100_000, 100, settings)
    assert rate.per_million == pytest.approx(1e6 / often, rel=0.3)
    assert less.alarms < rate.alarms / 2
    assert other.per_million == pytest.approx(1e6 / often, rel=0.3)


def test_a_budget_for_one_stream_alone_is_next_to_nothing_for_the_others() -> None:
    watch = numeric(2_000)
    shared, alone = (watch.budget(Setting(2.0, alone)) for alone in (False, True))
    assert shared.rate == alone.rate == 2 / (BUDGET * MILLISECONDS)
    watching = [(s.detector, s.target) == WATCHER["numeric"] for s in watch.streams]
    assert sum(watching) == 1 and len(watching) > 1
    assert alone.stream_weight[watching] == pytest.approx(1.0)
    assert shared.stream_weight == pytest.approx(1 / len(watching))


def test_a_multiplier_halves_the_logarithm() -> None:
    class Linear:
        """A trial that rings in proportion to the budget."""

        def alarms(self, times: float, enough: int) -> int:
            return round(7 * times)

    assert multiplier(Linear(), 70, halvings=12) == pytest.approx(10, rel=0.05)
    assert multiplier(Linear(), 10**9) > 9_000
    assert multiplier(Linear(), 0, halvings=12) < 1 / 7


def test_a_strictness_is_the_least_that_rings_seldom_enough() -> None:
    def make(strictness: float):
        return lambda values, stop_after: np.flatnonzero(values > strictness).tolist()

    values = seeded("tuned").random(100_000)
    assert tuned(make, values, 0.25, steps=12) == pytest.approx(0.75, abs=0.01)
    assert tuned(make, values, 0.0, high=0.5) == 0.5


def test_an_alarm_belongs_to_the_occurrence_that_it_came_in() -> None:
    change = next(c for c in CHANGES if c.lasts)
    found = recurrence(change, [(5_000, [4_000, 5_001, 6_000, 6_001, 8_001]), (5_100, [])])
    assert found.alarms == ((2, 1, *[0] * 8), (0,) * 10)
    assert found.others == 1
    assert found.found(slice(0, 1)) == 0.5
    assert found.found(slice(1, None)) == pytest.approx(1 / 18)
    assert recurred(found) == "50%, 6%, 0.1"


def test_a_change_that_comes_and_goes_is_found_by_a_budget_that_latches() -> None:
    change = next(c for c in CHANGES if c.lasts)
    (found,) = tocsin_recurrences([numeric(20_000)], change, INDEPENDENT, 1, (Setting(),))
    assert found.alarms[0][0] == 1
    assert sum(found.alarms[0]) <= 10


def test_a_judge_begins_anew_or_latches() -> None:
    watch, change = numeric(20_000), MEAN_1
    values = series("numeric", INDEPENDENT, 4_000, seeded("judge"), 0, change, 1_000)
    made = list(watch.evidence(values, 0, pane_ends(4_000, 10), seeded("rest")))
    (anew,), (latching,) = (
        watch.judges(0, (Setting(),), latching=latching) for latching in (False, True)
    )
    (stopping,) = watch.judges(0, (Setting(),), stop_after=1_000)
    for judge in (anew, latching, stopping):
        for part in made:
            judge.see(part)
    assert [watch.is_right(a) for a in latching.alarms] == [True]
    assert len(anew.alarms) > 10 and anew.alarms[0] == latching.alarms[0] == stopping.late
    assert stopping.done and not anew.done and anew.late is None


def test_the_whole_benchmark_runs_on_a_small_size(tmp_path) -> None:
    size = Size(
        references=(2_000, 3_000),
        draws=2,
        in_control=1_000,
        in_control_short=500,
        tuning=2_000,
        tuning_others=2_000,
        rules=2_000,
        runs=2,
        horizon=1_000,
        recurring=1,
        oracle_runs=5,
        oracle_tuning=(20, 200),
        processes=("independent",),
        rivals=("ADWIN", "PSI > 0.2"),
        changes=("mean +1 sd", "recurring +0.5 sd", "correlation 0 to .5", "error rate 10% to 20%"),
    )
    text = report.render(measure(size), size)
    assert "| mean +1 sd | independent | 1 |" in text
    assert "| correlation 0 to .5 | independent | 10 |" in text
    assert "of 28 in-control cells" in text
    assert "ADWIN tuned" in text


def test_a_part_of_the_benchmark_is_asked_for_by_names_that_are_known(capsys) -> None:
    told = parser().parse_args(["--only", "error, numeric", "--process", "AR(.5)", "--quick"])
    assert (told.only, told.process, told.quick) == (("error", "numeric"), ("AR(.5)",), True)
    with pytest.raises(SystemExit):
        parser().parse_args(["--only", "eror"])
    assert "not known: eror" in capsys.readouterr().err
    parser().format_help()
