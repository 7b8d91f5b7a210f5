"""The profile as a file: readable JSON with a version and a hash of what it says."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

import msgspec

from agent.errors import UsageError
from detectors.pairs import CELLS
from detectors.profile import CategoricalProfile, NumericProfile, Profile

KIND = "tocsin.profile"
VERSION = 2


class _File(msgspec.Struct, forbid_unknown_fields=True):
    """The file's outer object; `predicted` stands apart since its shape depends on the task."""

    kind: str
    version: int
    hash: str
    profile: dict[str, object]


def profile_hash(profile: Profile) -> str:
    """Twelve hexadecimal digits that identify what a profile says."""
    content = msgspec.json.encode(profile, order="sorted")
    return hashlib.sha256(content).hexdigest()[:12]


def save(profile: Profile, path: Path) -> str:
    """Write a profile, whole or not at all; returns its hash. UsageError where it cannot be."""
    digest = profile_hash(profile)
    body = msgspec.to_builtins(profile)
    content = msgspec.json.encode(_File(KIND, VERSION, digest, body))
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(msgspec.json.format(content, indent=1))
        os.replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink()
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None
    return digest


def supersede(profile: Profile, path: Path, expected: str) -> Path:
    """Write a profile in the place of the one with hash `expected`; returns where that is kept.

    The old file becomes PATH.1, or the next number that is free. UsageError where that cannot be,
    or where another profile has been put there.
    """
    if load(path)[1] != expected:
        raise UsageError(f"{path}: another profile has been put there")
    number, content = 1, path.read_bytes()
    while True:
        backup = path.with_name(f"{path.name}.{number}")
        try:
            with backup.open("xb") as file:
                file.write(content)
            break
        except FileExistsError:
            number += 1
        except OSError as error:
            raise UsageError(f"{backup}: cannot be written: {error.strerror}") from None
    try:
        save(profile, path)
    except UsageError:
        backup.unlink(missing_ok=True)
        raise
    return backup


def load(path: Path) -> tuple[Profile, str]:
    """A profile and its hash. UsageError, one line, where the file cannot be used."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"{path}: no such profile: make it with `tocsin profile`, or leave the model's "
            "`profile` out to learn from traffic"
        ) from None
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        file = msgspec.json.decode(content, type=_File)
        if file.kind != KIND:
            raise UsageError(f"{path}: is not a profile (kind {file.kind!r})")
        if file.version != VERSION:
            raise UsageError(
                f"{path}: has version {file.version}, this tocsin reads {VERSION}: "
                "make it again with `tocsin profile`"
            )
        profile = converted(file.profile)
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: is not a profile: {error}") from None
    problem = _inconsistency(profile)
    if problem:
        raise UsageError(f"{path}: is damaged: {problem}")
    if profile_hash(profile) != file.hash:
        raise UsageError(f"{path}: its hash does not match: it was changed by hand or damaged")
    return profile, file.hash


def converted(body: dict[str, object]) -> Profile:
    """The profile that plain objects stand for; msgspec's or Python's errors where they do not."""
    schema = body["schema"]
    regression = isinstance(schema, dict) and schema.get("task") == "regression"
    predicted: NumericProfile | CategoricalProfile
    if regression:
        predicted = msgspec.convert(body["predicted"], NumericProfile)
    else:
        predicted = msgspec.convert(body["predicted"], CategoricalProfile)
    # A union of two plain dataclasses cannot be told apart by its content, so it is set by hand.
    rest = msgspec.convert({k: v for k, v in body.items() if k != "predicted"}, _Rest)
    return Profile(predicted=predicted, **{f: getattr(rest, f) for f in rest.__struct_fields__})


_Rest = msgspec.defstruct(
    "_Rest",
    [(name, kind) for name, kind in Profile.__annotations__.items() if name not in ("predicted",)],
    forbid_unknown_fields=True,
)


def _inconsistency(profile: Profile) -> str:
    numeric = [*profile.numeric, *([profile.score] if profile.score else [])]
    if isinstance(profile.predicted, NumericProfile):
        numeric.append(profile.predicted)
    for part in numeric:
        if not len(part.counts) == len(part.centre) == len(part.edges) + 1:
            return f"{part.name}: edges and counts do not fit"
        if any(a >= b for a, b in zip(part.edges, part.edges[1:], strict=False)):
            return f"{part.name}: edges do not ascend"
    for category in profile.categorical:
        if len(category.categories) != len(category.counts):
            return f"{category.name}: categories and counts do not fit"
    for attribute in profile.fairness:
        known = len(attribute.groups)
        if any(
            len(counts) not in (0, known) for counts in (attribute.selected, attribute.outcomes)
        ):
            return f"{attribute.name}: groups and counts do not fit"
    if tuple(a.name for a in profile.fairness) != profile.schema.protected:
        return "protected attributes and schema do not fit"
    if (scores := profile.calibration) is not None:
        if not len(scores.counts) == len(scores.score) == len(scores.edges) - 1:
            return "calibration: edges and counts do not fit"
        if any(a > b for a, b in zip(scores.edges, scores.edges[1:], strict=False)):
            return "calibration: edges do not ascend"
    if (joint := profile.joint) is not None:
        known = len(profile.numeric)
        sizes = {len(counts) for counts in joint.counts}
        if (
            not len(joint.edges) == len(joint.tempers) == known
            or not all(0 <= i < j < known for i, j in joint.pairs)
            or len(joint.pairs) != len(joint.counts)
            or sizes != {CELLS}
        ):
            return "joint: pairs and counts do not fit"
    if [p.name for p in profile.numeric] != [f.name for f in profile.schema.numeric]:
        return "numeric features and schema do not fit"
    if [p.name for p in profile.categorical] != [f.name for f in profile.schema.categorical]:
        return "categorical features and schema do not fit"
    return ""
