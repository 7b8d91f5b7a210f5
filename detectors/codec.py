"""The one codec of all state: plain arrays in frozen dataclasses, to bytes and back. No pickle.

An encoded state says of what kind and version it is and for which parameters it was made. One that
does not fit is refused with the reason, never guessed at.
"""

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

MAGIC = b"TOCSIN1\n"
Blob = bytes | memoryview
ARRAYS = "biuf"  # kinds of arrays that can be part of a state: truth values and numbers


class StateError(ValueError):
    """Bytes that are no state, or a state of something else. The text says why."""


def parameter_hash(*parameters: object) -> str:
    """Identifies what a state was made for: numbers, texts, arrays, nested in tuples or lists."""
    digest = hashlib.sha256()
    for parameter in parameters:
        if isinstance(parameter, np.ndarray):
            digest.update(str((parameter.dtype.str, parameter.shape)).encode())
            digest.update(np.ascontiguousarray(parameter).tobytes())
        elif isinstance(parameter, tuple | list):
            digest.update(b"(" + parameter_hash(*parameter).encode() + b")")
        else:
            digest.update(repr(parameter).encode() + b"\x1f")
    return digest.hexdigest()[:16]


class Codec:
    """Encodes nested states.

    They are made of None, numbers, text, bytes, arrays, tuples, lists, dicts and the given
    dataclasses.

    Parameters
    ----------
    types
        The dataclasses that may occur.
    """

    def __init__(self, types: Iterable[type]) -> None:
        self._types = {t.__name__: t for t in types}

    def encode(self, kind: str, version: int, parameters: str, state: object) -> bytes:
        """Bytes of a state; the same state always gives the same bytes."""
        return b"".join(self.parts(kind, version, parameters, state))

    def parts(self, kind: str, version: int, parameters: str, state: object) -> list[Blob]:
        """The same piece by piece: of large arrays nothing is copied."""
        blobs: list[Blob] = []
        head = {
            "kind": kind,
            "version": version,
            "parameters": parameters,
            "state": self._plain(state, blobs),
            "blobs": [len(b) for b in blobs],
        }
        text = json.dumps(head, separators=(",", ":"), sort_keys=True).encode()
        body = [len(text).to_bytes(8, "big"), text, *blobs]
        checksum = 0
        for part in body:
            checksum = zlib.crc32(part, checksum)
        return [MAGIC, checksum.to_bytes(4, "big"), *body]

    def decode(self, kind: str, version: int, parameters: str | None, data: bytes) -> Any:
        """The state in `data`; StateError where it is damaged or made for something else.

        Any parameters will do where they are None.
        """
        head, blobs = _open(data)
        expected = {"kind": kind, "version": version, "parameters": parameters}
        for name, value in expected.items():
            if value is not None and head.get(name) != value:
                raise StateError(f"state has {name} {head.get(name)!r}, expected {value!r}")
        try:
            return self._rich(head["state"], blobs)
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise StateError(f"state cannot be rebuilt: {error}") from error

    def _plain(self, value: Any, blobs: list[Blob]) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return {"float": value.hex()}
        if isinstance(value, bytes):
            blobs.append(value)
            return {"bytes": len(blobs) - 1}
        if isinstance(value, np.ndarray) and value.dtype.kind in ARRAYS:
            flat = np.ascontiguousarray(value).reshape(-1)
            blobs.append(flat.view(np.uint8).data)
            return {"array": len(blobs) - 1, "dtype": value.dtype.str, "shape": value.shape}
        if type(value) in (tuple, list):
            return {type(value).__name__: [self._plain(v, blobs) for v in value]}
        if isinstance(value, dict):
            pairs = [[self._plain(k, blobs), self._plain(v, blobs)] for k, v in value.items()]
            return {"counter" if isinstance(value, Counter) else "dict": pairs}
        if is_dataclass(value) and type(value).__name__ in self._types:
            inside = {f.name: self._plain(getattr(value, f.name), blobs) for f in fields(value)}
            return {"class": type(value).__name__, "fields": inside}
        raise StateError(f"a {type(value).__name__} cannot be part of a state")

    def _rich(self, value: Any, blobs: list[bytes]) -> Any:
        if not isinstance(value, dict):
            return value
        if "float" in value:
            return float.fromhex(value["float"])
        if "bytes" in value:
            return blobs[value["bytes"]]
        if "array" in value:
            flat = np.frombuffer(blobs[value["array"]], dtype=np.dtype(value["dtype"]))
            return flat.reshape(value["shape"]).copy()
        if "tuple" in value:
            return tuple(self._rich(v, blobs) for v in value["tuple"])
        if "list" in value:
            return [self._rich(v, blobs) for v in value["list"]]
        if "dict" in value or "counter" in value:
            kind = Counter if "counter" in value else dict
            pairs = value["counter"] if "counter" in value else value["dict"]
            return kind({self._rich(k, blobs): self._rich(v, blobs) for k, v in pairs})
        inside = {k: self._rich(v, blobs) for k, v in value["fields"].items()}
        cls = self._types[value["class"]]
        made: Any = object.__new__(cls)
        if set(inside) != {f.name for f in fields(cls)}:
            raise StateError(f"state of {cls.__name__} has other fields")
        for name, content in inside.items():
            object.__setattr__(made, name, content)
        return made


def _open(data: bytes) -> tuple[dict[str, Any], list[bytes]]:
    start = len(MAGIC) + 4
    if not data.startswith(MAGIC) or len(data) < start + 8:
        raise StateError("not a state")
    if zlib.crc32(data[start:]) != int.from_bytes(data[len(MAGIC) : start], "big"):
        raise StateError("state is damaged: its checksum does not match")
    size = int.from_bytes(data[start : start + 8], "big")
    try:
        head = json.loads(data[start + 8 : start + 8 + size])
        blobs, at = [], start + 8 + size
        for length in head["blobs"]:
            blobs.append(data[at : at + length])
            at += length
    except (ValueError, KeyError, TypeError) as error:
        raise StateError(f"state cannot be read: {error}") from error
    return head, blobs
