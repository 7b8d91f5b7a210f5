"""Whether memory stays what it is: the payloads that the fuzzer found, changed on and on.

In a process of its own and without the fuzzer, which keeps what it finds.
"""

import gc
import json
import os
import random
import sys
from pathlib import Path

from tests.fuzz.targets import SEPARATOR, checked, targets, workspace

WARM = 0.25  # share of the payloads after which memory is measured first
STEPS = 20  # times that it is measured, and garbage collected: what waits for that is no growth


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """`python -m tests.fuzz.steady TARGET PAYLOADS FOLDER`: tells how many bytes it grew by."""
    name, wanted, folder = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3], sys.argv[1])
    target, rng = targets()[name], random.Random(0)
    inputs = sorted(folder.iterdir())
    found = [
        p for path in inputs[:: len(inputs) // 100 + 1] for p in path.read_bytes().split(SEPARATOR)
    ]
    done, seen = 0, [0]
    with workspace() as work:
        check = target.make(work)
        while done < wanted:
            payloads = target.batch_of(found, rng)
            checked(check, payloads)
            done += len(payloads)
            if done >= len(seen) * wanted / STEPS:
                seen.append(resident())
    growth = seen[-1] - seen[int(WARM * STEPS)]
    print(json.dumps({"steady_payloads": done, "steady_growth": growth}))


if __name__ == "__main__":
    main()
