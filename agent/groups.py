"""Groups of rows for which performance is shown: all, each segment, each version."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from agent.errors import UsageError
from agent.intake.vocabulary import OTHER, Vocabulary
from detectors.batch import UNSEEN, Batch, Schema
from detectors.bins import bin_codes

SegmentSpec = str | Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Segment:
    """A feature by whose value rows are grouped; numbers fall in bands between edges."""

    feature: str
    column: int
    names: tuple[str, ...]
    edges: tuple[float, ...] | None  # None: categorical
    known: int = 0  # categories of the schema


class Groups:
    """Numbers the groups: 0 is `all`, then the segments' values, then the versions.

    Parameters
    ----------
    schema
        The model's columns.
    segments
        Feature names, or {numeric feature: band edges}.
    versions
        Vocabulary of versions; it may still grow, up to its limit.
    """

    def __init__(
        self, schema: Schema, segments: Sequence[SegmentSpec], versions: Vocabulary
    ) -> None:
        self._versions = versions
        self._segments = [_segment(schema, spec) for spec in segments]
        self._segment_names = [f"{s.feature}={name}" for s in self._segments for name in s.names]
        self._first_version = 1 + len(self._segment_names)

    @property
    def first_version(self) -> int:
        """Number of the first version's group."""
        return self._first_version

    @property
    def count(self) -> int:
        """Number of groups there can be."""
        return self._first_version + self._versions.limit + 1

    @property
    def memberships(self) -> int:
        """Groups that one row belongs to."""
        return 2 + len(self._segments)

    def of(self, batch: Batch) -> NDArray[np.int32]:
        """Group numbers of each row: (n, memberships); -1 where a segment's value is missing."""
        group = np.zeros((len(batch), self.memberships), dtype=np.int32)
        start = 1
        for i, segment in enumerate(self._segments, start=1):
            group[:, i] = _members(segment, batch, start)
            start += len(segment.names)
        group[:, -1] = self._first_version + batch.version
        return group

    def names(self) -> list[tuple[int, str, str]]:
        """(group number, version, segment) of each group with a name."""
        named = [(0, "all", "all")]
        named += [(i, "all", name) for i, name in enumerate(self._segment_names, start=1)]
        named += [
            (self._first_version + i, name, "all")
            for i, name in enumerate(self._versions.names)
            if name
        ]
        named.append((self._first_version + self._versions.limit, OTHER, "all"))
        return named


def _segment(schema: Schema, spec: SegmentSpec) -> Segment:
    feature, edges = (spec, None) if isinstance(spec, str) else next(iter(spec.items()))
    for i, categorical in enumerate(schema.categorical):
        if categorical.name == feature and edges is None:
            # Unseen categories are counted under `other`, which may be a category itself.
            known = categorical.categories
            names = known if OTHER in known else (*known, OTHER)
            return Segment(feature, i, names, None, len(known))
    for i, numeric in enumerate(schema.numeric):
        if numeric.name == feature and edges is not None:
            return Segment(feature, i, _bands(edges), tuple(float(e) for e in edges))
    if edges is None and feature in schema.features:
        raise UsageError(f"segments: {feature} is numeric: give band edges, {{{feature}: [...]}}")
    raise UsageError(f"segments: the profile has no feature {feature!r} of that type")


def _bands(edges: Sequence[float]) -> tuple[str, ...]:
    texts = [f"{e:.15g}" for e in edges]
    between = [f"{a}..{b}" for a, b in pairwise(texts)]
    return (f"<{texts[0]}", *between, f">={texts[-1]}")


def _members(segment: Segment, batch: Batch, start: int) -> NDArray[np.int64]:
    if segment.edges is None:
        code = batch.category[:, segment.column].astype(np.int64)
        unseen = code == segment.known + UNSEEN
        group = start + np.where(unseen, segment.names.index(OTHER), code)
        return np.where(unseen | (code < segment.known), group, -1)
    values = batch.numeric[:, segment.column]
    band = start + bin_codes(np.array(segment.edges), values)
    return np.where(np.isnan(values), -1, band)
