"""Memory that is freed goes back to the system."""

import os
import subprocess
import sys

import pytest

# Arrays of half a megabyte with something small that stays between each two; how many MB they were,
# and how many were given back. One larger has been freed before, as it will have been.
PROGRAM = """
import os
from pathlib import Path
import numpy as np
from agent.heap import keep_little

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

{call}
del (first := [np.ones(2**20)])[:]
before = resident()
held = [(np.ones(2**16), np.ones(2**11)) for _ in range(200)]
most = resident()
stay = [small for _, small in held]
del held
print(most - before, most - resident())
"""


def given_back(call: str, **environment: str) -> tuple[float, float]:
    """MB that were taken, and MB that were given back."""
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{call}", call)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    taken, back = map(float, run.stdout.split())
    return taken, back


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_large_arrays_are_given_back() -> None:
    taken, back = given_back("keep_little()")
    assert taken > 100 and back > 0.9 * 104


@pytest.mark.skipif(sys.platform != "linux", reason="glibc")
def test_what_the_environment_says_stands() -> None:
    _, back = given_back("keep_little()", MALLOC_MMAP_THRESHOLD_=str(32 * 2**20))
    assert back < 20
