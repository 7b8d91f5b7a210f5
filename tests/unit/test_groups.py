"""Groups of rows for which performance is shown."""

import numpy as np
import pytest

from agent.errors import UsageError
from agent.groups import Groups
from agent.intake.vocabulary import Vocabulary
from detectors.batch import (
    INVALID,
    MISSING,
    UNSEEN,
    Batch,
    CategoricalFeature,
    NumericFeature,
    Schema,
)


def schema(categories=("north", "south")):
    features = (CategoricalFeature("kind", ("a",)), CategoricalFeature("region", categories))
    return Schema("binary", (NumericFeature("income"), NumericFeature("age")), features)


def batch(region, age, version):
    n = len(region)
    return Batch(
        np.zeros(n, dtype=np.int64),
        np.zeros(n, dtype=np.uint64),
        np.array(version, dtype=np.int32),
        np.stack([np.zeros(n), np.array(age, dtype=float)], axis=1),
        np.zeros((n, 2), dtype=bool),
        np.stack([np.zeros(n), np.array(region)], axis=1).astype(np.int32),
        np.zeros(n),
        np.zeros((n, 1)),
        np.zeros(n),
    )


def names_of(groups, rows):
    """The names of each row's groups."""
    named = {number: (version, segment) for number, version, segment in groups.names()}
    return [{named[g] for g in row if g >= 0} for row in groups.of(rows).tolist()]


def test_a_row_belongs_to_all_its_segments_and_its_version():
    versions = Vocabulary(["3", "4"])
    groups = Groups(schema(), ["region", {"age": [25, 40.5]}], versions)
    rows = batch([0, 1, 0], [24.9, 25, 40.5], [0, 1, versions.limit])
    everything = ("all", "all")
    assert names_of(groups, rows) == [
        {everything, ("all", "region=north"), ("all", "age=<25"), ("3", "all")},
        {everything, ("all", "region=south"), ("all", "age=25..40.5"), ("4", "all")},
        {everything, ("all", "region=north"), ("all", "age=>=40.5"), ("other", "all")},
    ]
    assert groups.of(rows).shape == (3, groups.memberships)
    assert groups.of(rows).max() < groups.count


def test_a_missing_value_is_in_no_segment_and_an_unseen_one_in_other():
    groups = Groups(schema(), ["region", {"age": [25]}], Vocabulary(["3"]))
    known = 2
    rows = batch([known + UNSEEN, known + MISSING, known + INVALID], [np.nan] * 3, [0] * 3)
    segments = [{s for _, s in names} - {"all"} for names in names_of(groups, rows)]
    assert segments == [{"region=other"}, set(), set()]


def test_a_category_called_other_shares_its_group_with_the_unseen():
    groups = Groups(schema(("other", "south")), ["region"], Vocabulary(["3"]))
    names = [name for _, version, name in groups.names() if version == "all"]
    assert len(names) == len(set(names))
    rows = batch([0, 1, 2 + UNSEEN, 2 + MISSING], [0] * 4, [0] * 4)
    segments = [{s for _, s in names} - {"all"} for names in names_of(groups, rows)]
    assert segments == [{"region=other"}, {"region=south"}, {"region=other"}, set()]


def test_every_group_has_a_number_and_a_name_of_its_own():
    edges = [1_234_567, 1_234_568, 1_234_568.5]
    groups = Groups(schema(), ["region", {"income": edges}, "kind"], Vocabulary(["3"]))
    numbers, named = zip(*((n, (v, s)) for n, v, s in groups.names()), strict=True)
    assert len(set(numbers)) == len(numbers) == len(set(named))
    assert max(numbers) == groups.count - 1


def test_versions_that_come_later_are_named_then():
    versions = Vocabulary(["3"])
    groups = Groups(schema(), [], versions)
    count = groups.count
    versions.code("4")
    assert groups.count == count
    assert [v for _, v, _ in groups.names()] == ["all", "3", "4", "other"]


@pytest.mark.parametrize("spec", ["age", "nothing", {"region": [1]}, {"nothing": [1]}])
def test_a_segment_that_cannot_be_is_said_in_one_line(spec):
    with pytest.raises(UsageError, match="segments: "):
        Groups(schema(), [spec], Vocabulary())


def test_no_rows_have_no_groups():
    groups = Groups(schema(), ["region"], Vocabulary())
    assert groups.of(batch([], [], [])).shape == (0, groups.memberships)
