"""A process whose wall clock can be put forward and back while it runs, and no other clock of it.

libfaketime (Debian's 0.9.10) does not serve: where it leaves the monotonic clock alone, Python's
sleeps fail (`clock_nanosleep`, EINVAL); where not, that one and the one since boot jump too.
"""

import struct
import zlib
from pathlib import Path

from tests.rig.requirements import CACHE, missing

SOURCE = Path(__file__).with_name("wall_clock.c")
LIBRARY = CACHE / f"wall-clock-{zlib.crc32(SOURCE.read_bytes()):08x}.so"


class WallClock:
    """The wall clock of processes that run with `variables`; right at first.

    Parameters
    ----------
    file
        Where it is kept by how much it is off.
    """

    def __init__(self, file: Path) -> None:
        if not LIBRARY.exists():
            missing("the preloaded wall clock (a C compiler builds it)")
        self._file = file
        self.jump(0.0)

    @property
    def variables(self) -> dict[str, str]:
        """Of the environment of a process that has this clock."""
        return {"LD_PRELOAD": str(LIBRARY), "TOCSIN_WALL_CLOCK": str(self._file)}

    def jump(self, seconds: float) -> None:
        """Be off by so much from now on; 0: right."""
        with self._file.open("r+b" if self._file.exists() else "w+b", buffering=0) as file:
            file.write(struct.pack("q", int(seconds * 1e9)))
