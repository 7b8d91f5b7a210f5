"""A model's state as bytes, and back: what fits is restored, what does not is refused with why.

Two kinds of records: one for each partition of a model (its fold, and where to read on), and one
for the model itself (detection, windows, alarms). Both say for which cells they were made.
"""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from agent.ages import Ages
from agent.closed import Closed, Facts
from agent.counters import CountersState
from agent.detection import DetectionState
from agent.fold import Fold, FoldState
from agent.join import JoinState
from agent.layout import Layout
from agent.merge import MergeState, PendingState
from agent.model import Model, ModelState
from agent.offsets import OffsetState, Ranges
from agent.panes import Entries
from agent.pending import Pending
from agent.publish.snapshot import Alarm, Contributor, Effect, Offsets
from agent.renewal import Watching, watching
from agent.ticks import TickState
from agent.windows import WindowState
from detectors.batch import Feedback
from detectors.budget import BudgetState
from detectors.codec import Blob, Codec, StateError, parameter_hash
from detectors.drift.river import RiverMemory
from detectors.fairness.gap import GapMemory
from detectors.labels.learned import Learned
from detectors.profile import Profile

VERSION = 2  # of what is remembered
MOST, MOST_PANES = 2**32, 2**26  # bytes of a state, and of a message
FOLD, MODEL, PANES = "fold", "model", "panes"
CODEC = Codec(
    [
        Alarm, Ages, BudgetState, Closed, Contributor, CountersState, DetectionState, Effect,
        Entries, Facts, Feedback, FoldState, GapMemory, JoinState, Learned, MergeState, ModelState,
        OffsetState, Offsets, Pending, PendingState, Ranges, RiverMemory, TickState, WindowState,
    ]
)  # fmt: skip


def fold_name(model: str, partition: int) -> str:
    """Name of the checkpoints of one partition of a model."""
    return f"{_safe(model)}:{partition}"


def model_name(model: str) -> str:
    """Name of the checkpoints of a model itself."""
    return _safe(model)


def _safe(name: str) -> str:
    return name.replace("%", "%25").replace("/", "%2F").replace(":", "%3A")


def layout_hash(layout: Layout) -> str:
    """Identifies the cells of a model's panes: whose bins, categories, segments, and how wide."""
    profile, config = layout.profile, layout.config
    columns = [
        (c.name, list(c.numeric.edges) if c.numeric is not None else [], c.known, list(c.extra))
        for c in layout.pane_cells.inputs.columns
    ]
    sections = [(name, part.start, part.stop) for name, part in layout.pane_cells.sections.items()]
    extra = [
        [] if profile.error is None else list(profile.error.edges),
        [] if profile.calibration is None else list(profile.calibration.edges),
        [] if profile.joint is None else [repr(profile.joint.pairs), repr(profile.joint.edges)],
    ]
    return parameter_hash(
        layout.pane,
        repr(profile.schema),
        columns,
        sections,
        extra,
        repr(config.segments),
        int(config.feedback.horizon),
        layout.shown_size,
    )


def encode_fold(fold: Fold) -> bytes:
    """The record of a partition."""
    return _packed(CODEC.parts(FOLD, VERSION, layout_hash(fold.layout), fold.capture()))


def decode_fold(layout: Layout, payload: bytes) -> FoldState:
    """What a record says; StateError where it was made for something else."""
    state: FoldState = CODEC.decode(FOLD, VERSION, layout_hash(layout), _unpacked(payload))
    return state


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """What the record of a model says."""

    state: ModelState
    watching: tuple[Watching, ...]  # what its detectors watched
    file: str  # hash of the profile's file; empty where it was learned
    profile_hash: str
    profile: bytes  # the profile where it is in no file


def encode_model(model: Model) -> bytes:
    """The record of a model."""
    # What was learned from traffic, or accepted and not written to its file, is nowhere else.
    unsaved = model.profile_hash != model.file_hash
    profile = msgspec.json.encode(model.profile) if unsaved else b""
    watched = tuple(tuple(w) for w in watching(model.detection))
    content = (model.capture(), watched, model.file_hash, model.profile_hash, profile)
    return _packed(CODEC.parts(MODEL, VERSION, layout_hash(model.layout), content))


def decode_model(payload: bytes, layout: Layout | None) -> ModelRecord:
    """What a record says; StateError where it was made for something else.

    Without a layout, that of the profile in the record is not compared with any.
    """
    expected = None if layout is None else layout_hash(layout)
    state, watched, *rest = CODEC.decode(MODEL, VERSION, expected, _unpacked(payload))
    return ModelRecord(state, tuple(Watching(*w) for w in watched), *rest)


def decode_profile(record: ModelRecord) -> Profile:
    """The profile that the record carries; StateError where it cannot be read."""
    from agent.profile_file import converted

    try:
        return converted(msgspec.json.decode(record.profile))
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise StateError(f"its profile cannot be read: {error}") from error


def encode_closed(model: Model, closed: Closed) -> bytes:
    """What a partition has closed, as a message to whoever judges the model."""
    content = (model.settings.kafka.group_id, model.name, closed)
    return _packed(CODEC.parts(PANES, VERSION, layout_hash(model.layout), content))


def decode_closed(
    payload: bytes, layouts: Mapping[str, Layout], group: str
) -> tuple[str, Closed | None]:
    """The model and what was closed; StateError where it was made for other cells.

    None of a model that has no layout here, or of another group: it is another's.
    """
    data = _unpacked(payload, MOST_PANES)
    of, name, closed = CODEC.decode(PANES, VERSION, None, data)
    if of != group or name not in layouts:
        return name, None
    CODEC.decode(PANES, VERSION, layout_hash(layouts[name]), data)
    return name, closed


def _packed(parts: Sequence[Blob]) -> bytes:
    packing = zlib.compressobj(1)
    return b"".join([*(packing.compress(part) for part in parts), packing.flush()])


def _unpacked(data: bytes, most: int = MOST) -> bytes:
    """The content of at most so many bytes: others may write to the topic, too."""
    unpacking = zlib.decompressobj()
    try:
        content = unpacking.decompress(data, most)
    except zlib.error as error:
        raise StateError(f"state cannot be unpacked: {error}") from error
    if not unpacking.eof:
        raise StateError("state is cut short, or larger than any of Tocsin's")
    return content
