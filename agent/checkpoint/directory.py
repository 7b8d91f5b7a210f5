"""Checkpoints in a directory: a file a record, written aside and renamed."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

CLAIM = "claim."


class Directory:
    """A `Medium` of files: DIRECTORY/NAME/CLAIM.SLOT.CHUNK.

    Parameters
    ----------
    path
        The directory; made where it is missing.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self.problem = ""

    def claim(self, names: Sequence[str]) -> dict[str, int] | None:
        """See `Medium`. A claim is a file that nobody else could create."""
        try:
            return {name: self._claim(name) for name in names}
        except OSError as error:
            self._failed("claimed", error)
            return None

    def _claim(self, name: str) -> int:
        folder = self._folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        taken = {p: int(p.name.removeprefix(CLAIM)) for p in folder.glob(f"{CLAIM}*")}
        number = max(taken.values(), default=0) + 1
        while True:
            try:
                os.close(os.open(folder / f"{CLAIM}{number}", os.O_CREAT | os.O_EXCL | os.O_WRONLY))
                break
            except FileExistsError:
                number += 1
        _sync(folder)
        for path in taken:
            path.unlink(missing_ok=True)
        for path in folder.glob("*.partial"):
            path.unlink(missing_ok=True)
        return number

    def load(self, names: Sequence[str]) -> dict[str, dict[str, bytes]] | None:
        """See `Medium`."""
        try:
            found = {name: self._load(name) for name in names}
        except OSError as error:
            self._failed("read", error)
            return None
        self.problem = ""
        return found

    def _load(self, name: str) -> dict[str, bytes]:
        folder, found = self._folder(name), {}
        for path in folder.iterdir() if folder.is_dir() else ():
            if not path.name.startswith(CLAIM) and path.suffix != ".partial":
                found[path.name.replace(".", "/")] = path.read_bytes()
        return found

    def put(self, entries: Sequence[tuple[str, bytes | None]]) -> bool:
        """See `Medium`."""
        try:
            for folder in dict.fromkeys(self._put(key, value) for key, value in entries):
                _sync(folder)
        except OSError as error:
            self._failed("written", error)
            return False
        self.problem = ""
        return True

    def _put(self, key: str, value: bytes | None) -> Path:
        name, _, rest = key.partition("/")
        path = self._folder(name) / rest.replace("/", ".")
        if value is None:
            path.unlink(missing_ok=True)
            return path.parent
        partial = path.with_name(f"{path.name}.partial")
        try:
            with partial.open("wb") as file:
                file.write(value)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        return path.parent

    def _folder(self, name: str) -> Path:
        quoted = quote(name, safe="")
        return self._path / (quoted if quoted.strip(".") else quoted.replace(".", "%2E"))

    def _failed(self, what: str, error: OSError) -> None:
        self.problem = f"{self._path}: checkpoints cannot be {what}: {error.strerror or error}"

    def close(self) -> None:
        """See `Medium`."""


def _sync(folder: Path) -> None:
    """A rename is durable once its directory is."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
