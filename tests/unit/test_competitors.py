"""Competitors of the detection benchmark: as their libraries have them, as seldom as asked."""

import json
import subprocess

import numpy as np
import pytest
from river import drift

from benchmarks.detection import competitors
from benchmarks.detection.competitors.elsewhere import FOLDER, WORKER, elsewhere, installed
from benchmarks.detection.competitors.knobs import level, scale
from benchmarks.detection.field import SERIES_UNITS, tuned
from benchmarks.detection.others import in_turn


@pytest.mark.parametrize("alpha", [0.005, 0.05, 1e-4])
def test_kswin_rings_when_that_of_river_does(alpha: float) -> None:
    values = np.random.default_rng(0).standard_normal(2_500)
    values[1_500:] += 1
    theirs = competitors.of_river(lambda: drift.KSWIN(alpha=alpha, seed=1))(values, None)
    assert len(theirs) > 0
    assert competitors.kswin(alpha)(values, None) == theirs


def test_kswin_stops_after_the_first_late_alarm() -> None:
    values = np.random.default_rng(0).standard_normal(6_000)
    values[3_000:] += 1
    everything = competitors.kswin(0.05)(values, None)
    stopped = competitors.kswin(0.05)(values, 2_000)
    assert stopped == everything[: len(stopped)]
    assert stopped[-1] > 2_000 >= max(stopped[:-1])


def test_knobs_rise_in_strictness() -> None:
    strictness = np.linspace(0, 1, 9)
    limits = [scale("limit", 0.5, 50.0).value(s) for s in strictness]
    levels = [level("p").value(s) for s in strictness]
    assert limits[0] == 0.5 and limits[-1] == pytest.approx(50)
    assert levels[0] == pytest.approx(0.9) and levels[-1] == pytest.approx(1e-100)
    assert (np.diff(limits) > 0).all() and (np.diff(levels) < 0).all()


def in_control(unit: str, n: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if unit in ("numeric", "calibration"):
        return rng.standard_normal(n)
    return rng.standard_normal((n, 2)) if unit == "correlation" else (rng.random(n) < 0.1) + 0.0


# These take some ten seconds to set up: the slow test below has them.
SLOW = ("MMD online", "LSDD online")
QUICK = [c for c in competitors.COMPETITORS if c.name not in SLOW]


@pytest.mark.parametrize("rival", QUICK, ids=lambda c: c.name)
def test_the_least_strictness_rings_more_than_the_greatest(rival) -> None:
    unit = rival.units[0]
    assert set(rival.units) <= {*SERIES_UNITS, "correlation"}
    reference, values = in_control(unit, 5_000, 1), in_control(unit, 5_000, 2)
    assert rival.tunable is not None
    loose, strict = (rival.tunable(reference, s)(values, None) for s in (0.0, 1.0))
    assert len(loose) >= 3 and strict == []
    assert loose == sorted(set(loose)) and loose[-1] <= len(values)
    as_it_comes = rival.make(reference)
    assert as_it_comes(values, None) == as_it_comes(values, None)


def test_a_tuned_rule_rings_as_seldom_as_asked_and_no_more_strictly() -> None:
    reference, values = in_control("numeric", 50_000, 1), in_control("numeric", 400_000, 2)
    for rival in competitors.COMPETITORS:
        if rival.name in ("PSI > 0.2", "KS p < .05"):
            assert rival.tunable is not None
            found = tuned(lambda s, r=rival: r.tunable(reference, s), values, 1e-4)
            rung = rival.tunable(reference, found)(values, None)
            looser = rival.tunable(reference, found - 1 / 256)(values, None)
            assert len(rung) <= 40 < len(looser), rival.name


def test_windows_keep_their_level_when_it_is_changed() -> None:
    reference, values = in_control("numeric", 50_000, 1), in_control("numeric", 1_000_000, 2)
    rung = competitors.kolmogorov_smirnov(reference, 0.2)(values, None)
    assert len(rung) == pytest.approx(200, abs=60)


def test_what_is_not_installed_is_left_out_and_named(monkeypatch, tmp_path) -> None:
    from benchmarks.detection.competitors import elsewhere as there

    monkeypatch.setattr(there, "FOLDER", tmp_path)
    assert there.not_installed() == ["frouros", "alibi-detect", "torch"]
    package = tmp_path / "lib" / "python3.11" / "site-packages" / "frouros"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    assert there.not_installed() == ["alibi-detect", "torch"]


# Libraries that only the benchmark needs have an environment of their own, which
# `python -m benchmarks competitors` makes; the tests of what runs there exist where it does.
if installed("frouros"):

    def test_an_error_elsewhere_is_told_and_the_worker_goes_on() -> None:
        values = in_control("error", 2_000, 1)
        with pytest.raises(RuntimeError, match="KeyError"):
            elsewhere("no such detector", None)(values, None)
        values[1_000:] = 1.0
        found = elsewhere("CUSUM", None)(values, 1_000)
        assert found and 1_000 < found[-1] < 1_200


if not competitors.not_installed():

    @pytest.mark.slow
    def test_statistics_of_stretches_are_those_of_the_libraries() -> None:
        command = [str(FOLDER / "bin" / "python"), str(WORKER / "check.py")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        assert len(found) == 6
        # In standard deviations; MMD and LSDD are computed in single precision there.
        assert max(found.values()) < 1e-3, found


def test_rules_with_a_reference_each_take_their_part_of_a_series() -> None:
    rules = [competitors.every(100), competitors.every(250)]
    assert in_turn(rules)(np.zeros(1_001), None) == [100, 200, 300, 400, 500, 750, 1_000]
