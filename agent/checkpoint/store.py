"""Checkpoints in chunks: whole or not at all, the newest that is whole, and no zombie's.

A checkpoint is cut into chunks, each a record with a header: format, sequence number, its place
among the chunks, a checksum. Two slots are written in turn, so that a crash in the middle of one
leaves the other. Who opens a name claims it, and writes under that claim alone: an agent that has
been replaced and does not know it yet writes under an older claim, which nobody reads once the
newer one has a whole checkpoint.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from agent.checkpoint.medium import Medium

FORMAT = 1
HEADER = struct.Struct(">4sHQIII")  # magic, format, sequence, chunk, chunks, checksum
MAGIC = b"TCSN"
CHUNK_BYTES = 512 * 1024  # well below what a broker takes by default
AT_ONCE = 16 * 1024 * 1024  # bytes that are written before anything is waited for
SLOTS = 2


@dataclass(frozen=True, slots=True)
class Found:
    """What a name had: the newest whole checkpoint, if any, and what was wrong with newer ones."""

    payload: bytes | None
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class _Name:
    claim: int
    sequence: int
    stale: list[str] = field(default_factory=list)  # keys of older claims
    saved: int = 0  # whole checkpoints under this claim

    @property
    def slot(self) -> int:
        """Where the next one goes: never over the last whole one, however often that fails."""
        return self.saved % SLOTS


class Checkpoints:
    """The checkpoints of any number of names in a medium.

    Parameters
    ----------
    medium
        Where they are kept.
    chunk_bytes
        Size of a record, header not counted.
    """

    def __init__(self, medium: Medium, chunk_bytes: int = CHUNK_BYTES) -> None:
        self.medium, self._chunk_bytes = medium, chunk_bytes
        self._names: dict[str, _Name] = {}

    @property
    def problem(self) -> str:
        """Why the last thing failed; empty where it did not."""
        return self.medium.problem

    def open(self, names: Sequence[str]) -> Mapping[str, Found] | None:
        """Claim these names and find what they have; None where that is not possible now."""
        if not names:
            return {}  # of an agent that judges no model, and has no partition of one
        claims = self.medium.claim(names)
        # Only now: what an older claim's owner writes from here on counts no more than a crash.
        records = self.medium.load(names) if claims is not None else None
        if claims is None or records is None:
            return None
        found = {}
        for name in names:
            best, sequence, problems = _newest(records[name])
            self._names[name] = _Name(
                claims[name], sequence, [f"{name}/{k}" for k in records[name]]
            )
            found[name] = Found(best, tuple(problems))
        return found

    def save(self, name: str, payload: bytes) -> bool:
        """Write a checkpoint of a name that was opened; whether it is durable."""
        return self.save_all([(name, payload)])

    def save_all(self, payloads: Iterable[tuple[str, bytes]]) -> bool:
        """Write checkpoints of names that were opened; whether all are durable.

        Small ones are written together: waiting for each costs more than writing it.
        """
        group: list[tuple[str, bytes]] = []
        for name, payload in payloads:
            group.append((name, payload))
            if sum(len(p) for _, p in group) >= AT_ONCE:
                if not self._put(group):
                    return False
                group = []
        return self._put(group)

    def _put(self, group: Sequence[tuple[str, bytes]]) -> bool:
        entries = [entry for name, payload in group for entry in self._entries(name, payload)]
        if entries and not self.medium.put(entries):
            return False
        stale: list[tuple[str, bytes | None]] = []
        done = []
        for opened in (self._names[name] for name, _ in group):
            opened.saved += 1
            # Not before there are two of this claim: the one serves should the other be damaged.
            if opened.saved >= SLOTS and opened.stale:
                stale += [(key, None) for key in opened.stale]
                done.append(opened)
        if stale and self.medium.put(stale):
            for opened in done:
                opened.stale = []
        return True

    def _entries(self, name: str, payload: bytes) -> list[tuple[str, bytes | None]]:
        opened = self._names[name]
        # Even where it fails: what is written of it must not be taken for part of the next one.
        opened.sequence = sequence = opened.sequence + 1
        chunks = [
            payload[at : at + self._chunk_bytes]
            for at in range(0, max(len(payload), 1), self._chunk_bytes)
        ]
        prefix = f"{name}/{opened.claim}/{opened.slot}"
        return [
            (f"{prefix}/{number}", _record(chunk, sequence, number, len(chunks)))
            for number, chunk in enumerate(chunks)
        ]


def _record(chunk: bytes, sequence: int, number: int, chunks: int) -> bytes:
    checksum = _checksum(chunk, sequence, number, chunks)
    return HEADER.pack(MAGIC, FORMAT, sequence, number, chunks, checksum) + chunk


def _checksum(chunk: bytes, sequence: int, number: int, chunks: int) -> int:
    return zlib.crc32(chunk, zlib.crc32(struct.pack(">QII", sequence, number, chunks)))


@dataclass(slots=True)
class _Slot:
    """The chunks of one slot, by sequence number."""

    chunks: dict[int, dict[int, bytes]] = field(default_factory=dict)
    count: dict[int, int] = field(default_factory=dict)


def _newest(records: Mapping[str, bytes]) -> tuple[bytes | None, int, list[str]]:
    """The newest whole checkpoint, the highest sequence number seen, and what is damaged."""
    slots: dict[tuple[int, int], _Slot] = {}
    problems: list[str] = []
    highest = 0
    for key, record in sorted(records.items()):
        place = _place(key)
        if place is None:
            continue
        slot = slots.setdefault(place[:2], _Slot())
        what = _opened(record)
        if isinstance(what, str):
            problems.append(f"record {key}: {what}")
            continue
        sequence, number, chunks, chunk = what
        highest = max(highest, sequence)
        slot.chunks.setdefault(sequence, {})[number] = chunk
        slot.count[sequence] = chunks
    whole = [
        (claim, sequence, chunks)
        for (claim, _), slot in slots.items()
        for sequence, chunks in slot.chunks.items()
        if chunks.keys() == set(range(slot.count[sequence]))
    ]
    if not whole:
        return None, highest, problems
    best = max(whole, key=lambda w: w[:2])[2]
    return b"".join(best[number] for number in range(len(best))), highest, problems


def _place(key: str) -> tuple[int, int, int] | None:
    """Claim, slot and chunk of a key; None where it is that of something else."""
    parts = key.split("/")
    if len(parts) != 3 or not all(p.isascii() and p.isdigit() for p in parts):
        return None
    return int(parts[0]), int(parts[1]), int(parts[2])


def _opened(record: bytes) -> tuple[int, int, int, bytes] | str:
    """Sequence, chunk, chunks and content, or what is wrong with the record."""
    if len(record) < HEADER.size or record[:4] != MAGIC:
        return "is no checkpoint"
    _, form, sequence, number, chunks, checksum = HEADER.unpack_from(record)
    if form != FORMAT:
        return f"has format {form}, this tocsin reads {FORMAT}"
    chunk = record[HEADER.size :]
    if _checksum(chunk, sequence, number, chunks) != checksum:
        return "is damaged: its checksum does not match"
    return sequence, number, chunks, chunk
