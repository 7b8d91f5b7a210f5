"""Compares the statistics that windowed.py judges by with the libraries' own, event by event.

Prints the largest differences. Run with the competitors' Python; a test does so.
"""

import json
import sys

import counting
import numpy as np
import windowed

EVENTS = 500


def one_by_one(name: str, judge: object, values: np.ndarray) -> np.ndarray:
    """The library's own statistic of every event (n,), NaN where it has none yet."""
    if name == "STEPD":
        from frouros.detectors.concept_drift import STEPD

        made, found = STEPD(), np.full(len(values), np.nan)
        for i, value in enumerate(values):
            made.update(value=1.0 - value)
            if i + 1 >= 2 * judge.NEWEST:
                found[i] = abs(made._calculate_statistic())
        return found
    if name == "IncrementalKSTest":
        from frouros.detectors.data_drift import IncrementalKSTest

        made = IncrementalKSTest(window_size=counting.WINDOW)
        made.fit(X=judge.reference)
        results = [made.update(value=value)[0] for value in values]
        return np.array([np.nan if r is None else r.statistic for r in results])
    made = library_object(name, judge)
    made.reset_state()
    rows = values.astype(int) if name == "FETDriftOnline" else values.astype(np.float32)
    rows = rows if name != "CVMDriftOnline" else values
    stats = [made.predict(np.atleast_1d(row))["data"]["test_stat"] for row in rows]
    full = [np.max(np.where(np.isnan(s), -np.inf, s)) for s in stats]
    return np.where(np.isneginf(full), np.nan, full)


def library_object(name: str, judge: object):
    """The alibi-detect detector behind a judge."""
    if name != "CVMDriftOnline":
        return judge.made
    from alibi_detect.cd import CVMDriftOnline

    CVMDriftOnline._configure_thresholds = lambda self: None  # minutes, and not needed here
    made = CVMDriftOnline(judge.reference, counting.RUN, counting.WINDOWS, verbose=False)
    made.thresholds = np.full((1, 1), np.inf)
    return made


def main() -> None:
    """Compare them all."""
    rng, found = np.random.default_rng(3), {}
    counting._cvm_thresholds = lambda n: np.array([np.inf])
    for name in sys.argv[1:] or windowed.MAKERS:
        if name in ("STEPD", "FETDriftOnline"):
            reference, values = (rng.random(n) < 0.1 for n in (5_000, EVENTS))
        else:
            shape = (2,) if name in ("MMDDriftOnline", "LSDDDriftOnline") else ()
            reference, values = (rng.standard_normal((n, *shape)) for n in (5_000, EVENTS))
        judge = windowed.detector(name, reference.astype(float))
        theirs = one_by_one(name, judge, values.astype(float))
        cut = 300  # a stretch that begins anew, and one that goes on
        first = max(0, cut - judge.before)
        ours = np.concatenate(
            [
                judge.scores(values[:cut].astype(float), 0),
                judge.scores(values[first:].astype(float), first)[cut - first :],
            ]
        )
        same = np.isnan(ours) == np.isnan(theirs)
        worst = np.nanmax(np.abs(ours - theirs)) / np.nanstd(theirs)
        found[name] = float(worst) if same.all() else float("inf")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
