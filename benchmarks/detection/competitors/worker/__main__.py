"""Runs detectors of frouros and alibi-detect for a process that cannot import them.

Reads requests from standard input and answers on standard output, until the input ends. A request
is a line of JSON (`detector`, `parameter` or null, `stop_after` or null, `shape` of the values,
`reference` shape), then the values and the reference as float64 bytes; the answer a line of JSON
with `alarms` or `error`. Run by `elsewhere.py`, with the Python that has the libraries.
"""

import json
import os
import sys
import traceback
import warnings
from typing import BinaryIO

for threads in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(threads, "1")
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402


def array(source: BinaryIO, shape: list[int]) -> np.ndarray:
    """The next array of the input."""
    return np.frombuffer(source.read(8 * int(np.prod(shape)))).reshape(shape)


def answer(request: dict, values: np.ndarray, reference: np.ndarray) -> list[int]:
    """The alarms that a request asks for."""
    name, parameter, stop_after = (request[k] for k in ("detector", "parameter", "stop_after"))
    import windowed

    if name in windowed.MAKERS:
        return windowed.alarms(name, parameter, values, stop_after, reference)
    import stepwise  # only now, since it imports frouros

    return stepwise.alarms(name, parameter, values, stop_after)


def main() -> None:
    """Serve until the input ends."""
    # Whatever a library prints goes to the errors, not among the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    source = sys.stdin.buffer
    while line := source.readline():
        request = json.loads(line)
        values, reference = (array(source, request[k]) for k in ("shape", "reference"))
        try:
            reply: dict[str, object] = {"alarms": answer(request, values, reference)}
        except Exception:
            reply = {"error": traceback.format_exc()}
        answers.write(json.dumps(reply) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
