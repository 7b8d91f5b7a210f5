"""Detectors of libraries whose pins do not fit Tocsin's: they run in a process of their own.

frouros 0.9 and alibi-detect 0.13 want numpy below 2 (2.2) and pull in a gigabyte, with PyTorch five
more. `python -m benchmarks competitors` makes a virtual environment for them; where there is none,
or a library is not in it, its detectors are left out and named.
"""

import atexit
import json
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np

from benchmarks.detection.field import Rule
from benchmarks.detection.streams import Floats

FOLDER = Path(__file__).parents[3] / ".cache" / "competitors"
WORKER = Path(__file__).parent / "worker"
REQUIREMENTS = WORKER / "requirements.txt"
LIBRARIES = {"frouros": "frouros", "alibi-detect": "alibi_detect", "torch": "torch"}

_running: list[subprocess.Popen[bytes]] = []


def installed(library: str) -> bool:
    """Is it in the competitors' environment?"""
    return any(FOLDER.glob(f"lib/python*/site-packages/{LIBRARIES[library]}/__init__.py"))


def not_installed() -> list[str]:
    """The libraries that are not."""
    return [name for name in LIBRARIES if not installed(name)]


def elsewhere(detector: str, parameter: float | None, reference: Floats | None = None) -> Rule:
    """A detector that the worker knows, with its one parameter (None: as it comes)."""

    def run(values: Floats, stop_after: int | None = None) -> list[int]:
        arrays = [np.ascontiguousarray(a, dtype=np.float64) for a in (values, known)]
        request = {
            "detector": detector,
            "parameter": parameter,
            "stop_after": stop_after,
            "shape": arrays[0].shape,
            "reference": arrays[1].shape,
        }
        return _ask(request, arrays)

    known = np.empty(0) if reference is None else reference
    return run


def _ask(request: dict[str, object], arrays: list[Floats]) -> list[int]:
    worker = _worker()
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(json.dumps(request).encode() + b"\n")
    for values in arrays:
        worker.stdin.write(values.tobytes())
    worker.stdin.flush()
    reply = json.loads(worker.stdout.readline() or '{"error": "the worker ended"}')
    if "error" in reply:
        raise RuntimeError(f"{request['detector']}: {reply['error']}")
    return [int(event) for event in reply["alarms"]]


def _worker() -> subprocess.Popen[bytes]:
    """The process, started at first use and ended with this one."""
    if not _running:
        command = [str(FOLDER / "bin" / "python"), str(WORKER)]
        worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        _running.append(worker)
        atexit.register(worker.kill)
    return _running[0]


def main() -> None:
    """Make the virtual environment."""
    print(f"making {FOLDER}: some 6 GB, most of it PyTorch", flush=True)
    venv.create(FOLDER, with_pip=True, clear=True)
    pip = [str(FOLDER / "bin" / "python"), "-m", "pip", "install", "-r", str(REQUIREMENTS)]
    if subprocess.call(pip) != 0:
        sys.exit("not installed: the benchmark runs without what is missing")
