"""The laws that every sketch and every detector obeys, as checks on states.

They compare states, not only what states report: a wrong merge can survive comparing reports. Each
check raises AssertionError with the law that is broken. They take their rows from outside, so that
a test can throw anything at them.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.batch import Columns
from detectors.codec import Codec, StateError
from detectors.evidence import Detector, PaneRun
from detectors.sketch import Counts, Sketch, fold, merge, zero


def slices(n: int, cuts: Sequence[int]) -> list[slice]:
    """Consecutive slices that cover n rows, cut at the given places."""
    edges = [0, *sorted(min(max(c, 0), n) for c in cuts), n]
    return [slice(a, b) for a, b in pairwise(edges)]


def frozen(rows: Columns) -> Columns:
    """A copy of rows whose arrays refuse to be written to."""
    copied = rows.take(slice(None))
    for field in fields(copied):
        getattr(copied, field.name).flags.writeable = False
    return copied


def check_sketch(
    sketch: Sketch[Any],
    rows: Any,
    cuts: Sequence[int],
    oracle: Callable[[Any], Counts] | None = None,
) -> None:
    """All laws of a sketch on some rows, split at `cuts`; `oracle` counts them another way."""
    whole = fold(sketch, zero(sketch), rows)
    parts = [rows.take(s) for s in slices(len(rows), cuts)]

    state = zero(sketch)
    for part in parts:
        state = fold(sketch, state, part)
    assert np.array_equal(state, whole), "any split of the rows gives the whole's state"

    nothing = rows.take(slice(0, 0))
    assert np.array_equal(fold(sketch, whole, nothing), whole), "the empty batch changes nothing"
    assert not zero(sketch).any(), "the state of no rows is zero"

    states = [fold(sketch, zero(sketch), part) for part in parts]
    forward = zero(sketch)
    for s in states:
        forward = merge(forward, s)
    backward = zero(sketch)
    for s in reversed(states):
        backward = merge(s, backward)
    assert np.array_equal(forward, whole), "merged parts equal the union"
    assert np.array_equal(backward, whole), "merging commutes and associates"

    order = np.argsort(np.arange(len(rows)) * 7919 % max(len(rows), 1), kind="stable")
    shuffled = fold(sketch, zero(sketch), rows.take(order))
    assert np.array_equal(shuffled, whole), "the order of rows does not matter"

    before = whole.copy()
    fold(sketch, whole, frozen(rows))
    assert np.array_equal(whole, before), "the state given to fold is left as it was"
    assert whole.shape == (sketch.size,) and whole.dtype == np.int64, "a state has a fixed size"
    if oracle is not None:
        assert np.array_equal(whole, oracle(rows)), "the state equals the oracle's"


def step_through(detector: Detector, run: PaneRun, cuts: Sequence[int]) -> tuple[Any, Any]:
    """Memory and evidence after stepping over the run in parts."""
    memory, evidence = detector.start(), []
    for part in slices(len(run), cuts):
        memory, made = detector.step(memory, run.take(part))
        evidence.append(made)
    return memory, np.concatenate(evidence)


def check_detector(detector: Detector, run: PaneRun, cuts: Sequence[int], codec: Codec) -> None:
    """All laws of a detector on some panes, stepped over in parts split at `cuts`."""
    width = detector.stream.alternatives
    arrays = {name: counts.copy() for name, counts in run.sections.items()}
    memory, evidence = step_through(detector, run, [])
    assert evidence.shape == (len(run), width), "one log e-value a pane and alternative"
    assert not np.isnan(evidence).any() and not np.isposinf(evidence).any(), "evidence is finite"
    for name, kept in arrays.items():
        assert np.array_equal(run.sections[name], kept), "the panes are left as they were"

    parted, parts = step_through(detector, run, cuts)
    assert np.array_equal(parts, evidence), "any split of the panes gives the same evidence"
    same = codec.encode("m", 1, "p", parted) == codec.encode("m", 1, "p", memory)
    assert same, "any split of the panes gives the same memory"

    empty, nothing = detector.step(memory, run.take(slice(0, 0)))
    assert codec.encode("m", 1, "p", empty) == codec.encode("m", 1, "p", memory), "no pane, no step"
    assert len(nothing) == 0, "no pane, no evidence"
    check_checkpoints(detector, run, evidence, codec)


def check_checkpoints(
    detector: Detector, run: PaneRun, evidence: NDArray[np.float64], codec: Codec
) -> None:
    """A checkpoint at every step changes nothing; one of another kind is refused."""
    memory = detector.start()
    for i in range(len(run)):
        data = codec.encode("memory", 1, "p", memory)
        memory, made = detector.step(
            codec.decode("memory", 1, "p", data), run.take(slice(i, i + 1))
        )
        assert np.array_equal(made, evidence[i : i + 1]), "a checkpoint changes nothing"
    data = codec.encode("memory", 1, "p", memory)
    for other in (("other", 1, "p"), ("memory", 2, "p"), ("memory", 1, "q")):
        try:
            codec.decode(*other, data)
        except StateError:
            continue
        raise AssertionError(f"a state of {other} must be refused")


def null_mean(log_e: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean of exp(evidence) over panes (k, a), and its standard error, for each alternative."""
    e = np.exp(log_e)
    return e.mean(axis=0), e.std(axis=0) / np.sqrt(len(e))
