"""Columns of values to batches: each row is accepted, or rejected for the first thing wrong in it.

Every format ends here, so that the rules for what is usable are written once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from agent.intake.records import Picked, Rejection
from agent.intake.times import ABSENT, BAD, parse_times
from agent.intake.values import (
    CLASS_MISSING,
    LARGEST,
    category_table,
    hash_ids,
    label_table,
    numbers,
)
from agent.intake.vocabulary import Vocabulary
from detectors.batch import Batch, Columns, Feedback, Schema

MISSING_ID: Final = "missing_id"
BAD_ID: Final = "bad_id"
MISSING_TIMESTAMP: Final = "missing_timestamp"
BAD_TIMESTAMP: Final = "bad_timestamp"
TIMESTAMP_AHEAD: Final = "timestamp_ahead"
MISSING_PREDICTION: Final = "missing_prediction"
BAD_PREDICTION: Final = "bad_prediction"
BAD_SCORE: Final = "bad_score"
MISSING_LABEL: Final = "missing_label"
BAD_LABEL: Final = "bad_label"
UNKNOWN_LABEL: Final = "unknown_label"

# How far from 1 the sum of some classes' probabilities may be for the others to count as 0.
_SUM_TOLERANCE = 0.01

Rows = TypeVar("Rows", bound=Columns)


@dataclass(frozen=True, slots=True)
class Decoded(Generic[Rows]):
    """What became of a raw batch; rows and rejections together are all its records."""

    rows: Rows
    index: NDArray[np.intp]  # (len(rows),) positions in the raw batch
    rejected: tuple[Rejection, ...]  # by position


class _Verdict:
    """Which of n rows are still good, and why the others are not."""

    def __init__(self, n: int) -> None:
        self.good = np.ones(n, dtype=np.bool_)
        self._reasons: dict[int, str] = {}

    def reject(self, rows: NDArray[np.bool_], reason: str) -> None:
        """Reject the rows of a mask that were good so far."""
        rows = rows & self.good
        if rows.any():
            self._reasons.update(dict.fromkeys(np.flatnonzero(rows).tolist(), reason))
            self.good &= ~rows

    def decoded(self, rows: Rows, picked: Picked, excerpt: Callable[[int], str]) -> Decoded[Rows]:
        """The good rows, and a rejection for each other one."""
        if not self._reasons:
            return Decoded(rows, picked.index, tuple(picked.rejected))
        rejected = list(picked.rejected)
        for row, reason in self._reasons.items():
            index = int(picked.index[row])
            rejected.append(Rejection(index, reason, excerpt(index)))
        rejected.sort(key=lambda rejection: rejection.index)
        return Decoded(rows.take(self.good), picked.index[self.good], tuple(rejected))


@dataclass(frozen=True, slots=True)
class Context:
    """What is known of a raw batch beside the values of its records."""

    times: NDArray[np.int64] | None  # (raw,) times to use where a record has none; -1 is unknown
    latest: int | None  # a record later than this (milliseconds) is rejected
    text: bool  # whether numbers may be spelled as text (tables)
    excerpt: Callable[[int], str]  # how the record at a raw position begins


class Assembler:
    """Picked values of predictions and feedback to batches.

    The scalars of a prediction are id, time, version, prediction and the categorical features; its
    numbers are the scores, the latency and the numeric features. Feedback's scalars are id, time
    and label.
    """

    def __init__(self, schema: Schema, versions: Vocabulary | None = None) -> None:
        self._schema = schema
        self._versions = versions if versions is not None else Vocabulary()
        self._categories = [category_table(f.categories) for f in schema.categorical]
        self._labels = label_table(schema.classes)
        limits = [(f.minimum, f.maximum) for f in schema.numeric]
        self._least = np.array([-LARGEST if low is None else low for low, _ in limits])
        self._most = np.array([LARGEST if high is None else high for _, high in limits])

    def predictions(self, picked: Picked, context: Context) -> Decoded[Batch]:
        """The batch of the usable predictions."""
        ids, times, versions, predictions, *categories = picked.scalars
        verdict = _Verdict(len(picked.index))
        id_hash = _ids(ids, verdict)
        time = _times(times, picked.index, context, verdict)
        width = self._schema.score_columns
        score = picked.numbers[:, :width]
        prediction, score = self._outputs(predictions, score, context.text, verdict)
        numeric, invalid = self._numeric(picked.numbers[:, width + 1 :])
        latency = picked.numbers[:, width] / 1000.0
        latency = np.where((latency >= 0) & (latency <= LARGEST), latency, np.nan)
        codes = [
            table.codes(column) for table, column in zip(self._categories, categories, strict=True)
        ]
        category = np.stack(codes, axis=1) if codes else np.empty((len(time), 0), dtype=np.int32)
        version = np.zeros(len(time), dtype=np.int32)
        # Only rows that count may take one of the few places for versions.
        if verdict.good.all():
            version = self._versions.codes(versions)
        else:
            rows = np.flatnonzero(verdict.good)
            version[rows] = self._versions.codes([versions[i] for i in rows.tolist()])
        batch = Batch(
            time, id_hash, version, numeric, invalid, category, prediction, score, latency
        )
        return verdict.decoded(batch, picked, context.excerpt)

    def feedback(self, picked: Picked, context: Context) -> Decoded[Feedback]:
        """The usable feedback."""
        ids, times, labels = picked.scalars
        verdict = _Verdict(len(picked.index))
        id_hash = _ids(ids, verdict)
        time = _times(times, picked.index, context, verdict)
        absent = np.array([v is UNSET for v in labels], dtype=np.bool_)
        verdict.reject(absent, MISSING_LABEL)
        if self._schema.task == "regression":
            label = numbers(labels, text=context.text)
            empty = _empty(np.isnan(label), labels, context.text)
            verdict.reject(~empty & ~(np.abs(label) <= LARGEST), BAD_LABEL)
        else:
            codes = self._labels.codes(labels)
            empty = _empty(codes == CLASS_MISSING, labels, context.text)
            scalar = np.array([isinstance(v, _LABEL) and v == v for v in labels], dtype=np.bool_)
            verdict.reject(~empty & ~scalar, BAD_LABEL)
            verdict.reject(~empty & (codes < 0), UNKNOWN_LABEL)
            label = np.where(empty, np.nan, codes.astype(np.float64))
        return verdict.decoded(Feedback(time, id_hash, label), picked, context.excerpt)

    def _outputs(
        self,
        values: Sequence[object],
        score: NDArray[np.float64],
        text: bool,
        verdict: _Verdict,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Predictions as codes or numbers, and scores, each made from the other where it can be."""
        if self._schema.task == "regression":
            prediction = numbers(values, text=text)
            verdict.reject(_empty(np.isnan(prediction), values, text), MISSING_PREDICTION)
            verdict.reject(~(np.abs(prediction) <= LARGEST), BAD_PREDICTION)
            return prediction, score
        codes = self._labels.codes(values)
        derived = _empty(codes == CLASS_MISSING, values, text)
        known = ~np.isnan(score)
        inside = ((score >= 0) & (score <= 1)) | ~known
        usable = np.logical_and.reduce(inside, axis=1)
        if self._schema.task == "multiclass":
            partial = np.logical_or.reduce(known, axis=1) & ~np.logical_and.reduce(known, axis=1)
            if partial.any():
                some = np.where(inside, score, np.nan)
                whole = np.abs(np.nansum(some, axis=1) - 1) <= _SUM_TOLERANCE
                score = np.where(partial[:, None] & ~known & usable[:, None], 0.0, score)
                usable = usable & (whole | ~partial)
        verdict.reject(derived & ~known.any(axis=1), MISSING_PREDICTION)
        verdict.reject((codes < 0) & ~derived, BAD_PREDICTION)
        verdict.reject(~usable, BAD_SCORE)
        if derived.any():
            guess = (
                score[:, 0] >= self._schema.threshold
                if self._schema.task == "binary"
                else np.where(np.isnan(score), -1.0, score).argmax(axis=1)
            )
            codes = np.where(derived, guess, codes)
        return codes.astype(np.float64), score

    def _numeric(
        self, values: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Numeric features, and which of them are there but out of their range."""
        within = (values >= self._least) & (values <= self._most) & (np.abs(values) <= LARGEST)
        invalid = ~within & ~np.isnan(values)
        return np.where(within, values, np.nan), invalid


_LABEL = (str, int, float)


def _empty(rows: NDArray[np.bool_], values: Sequence[object], text: bool) -> NDArray[np.bool_]:
    """The rows without a value: in a record a NaN is a mistake, in a table an empty cell."""
    if text or not rows.any():
        return rows
    return rows & np.array([v is None or v is UNSET for v in values], dtype=np.bool_)


def _ids(values: Sequence[object], verdict: _Verdict) -> NDArray[np.uint64]:
    hashes, absent, bad = hash_ids(values)
    verdict.reject(absent, MISSING_ID)
    verdict.reject(bad, BAD_ID)
    return hashes


def _times(
    values: Sequence[object], index: NDArray[np.intp], context: Context, verdict: _Verdict
) -> NDArray[np.int64]:
    time = parse_times(values)
    if context.times is not None:
        absent = np.flatnonzero(time == ABSENT)
        # A broker's own time beyond the range is refused like a record's.
        own = context.times[index[absent]]
        time[absent] = np.where(own == -1, ABSENT, parse_times(own.tolist()))
    verdict.reject(np.equal(time, ABSENT), MISSING_TIMESTAMP)
    verdict.reject(np.equal(time, BAD), BAD_TIMESTAMP)
    if context.latest is not None:
        verdict.reject(np.greater(time, context.latest), TIMESTAMP_AHEAD)
    return time
