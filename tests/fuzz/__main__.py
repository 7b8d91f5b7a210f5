"""`python -m tests.fuzz [TARGET ...] [--payloads N] [--seed N]`: throw payloads at each target.

It needs `pip install -e '.[dev,fuzz]'`. What was found to lead somewhere new is kept in
`.cache/fuzz/` for the next run; payloads that failed are in `.cache/fuzz/failures/`.
"""

import argparse
import importlib.util
import json
import re
import subprocess
import sys
from typing import Any

from tests.fuzz.targets import targets
from tests.rig.requirements import CACHE

# What a run without arguments throws at each: a million at the decoders alone.
PAYLOADS = {
    "decoders": 1_000_000,
    "routing": 200_000,
    "pipeline": 200_000,
    "learning": 50_000,
    "tables": 20_000,
    "configurations": 100_000,
}
STEADY = 100_000  # payloads, at most, over which memory is measured
MOST_GROWTH = 8 * 2**20  # bytes: what an allocator keeps for itself


def fuzz(name: str, payloads: int, seed: int) -> dict[str, Any]:
    """Run one target to its end; what it reported, and the coverage at first and at last."""
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(payloads), str(CACHE / "fuzz")]
    report: dict[str, Any] = {"target": name, "payloads": 0, "crashes": 1}
    covered: list[tuple[int, int]] = []
    said: list[str] = []
    with subprocess.Popen(
        [*command, f"-seed={seed}"], stderr=subprocess.PIPE, text=True, errors="replace"
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith("REPORT "):
                report = json.loads(line.removeprefix("REPORT "))
            elif found := re.search(r"cov: (\d+) ft: (\d+)", line):
                covered.append((int(found[1]), int(found[2])))
            elif not line.startswith(("INFO:", "WARNING:")):
                said = [*said, line][-60:]
    if report["crashes"] or child.returncode:
        sys.stderr.writelines(said)
        report["crashes"] = max(1, report["crashes"])
    if covered:
        report["coverage"], report["features"] = zip(covered[0], covered[-1], strict=True)
    return report | ({} if report["crashes"] else steady(name, min(payloads, STEADY)))


def steady(name: str, payloads: int) -> dict[str, Any]:
    """How memory grows over payloads like those that were found."""
    command = [sys.executable, "-m", "tests.fuzz.steady", name, str(payloads), str(CACHE / "fuzz")]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    made: dict[str, Any] = json.loads(run.stdout) if run.returncode == 0 else {"crashes": 1}
    return made


def main() -> int:
    """Run all that is asked for; 1 where anything failed or memory grew."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target", nargs="*", choices=[*PAYLOADS, []], default=[])
    parser.add_argument("--payloads", type=int, help="how many at each target")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        sys.exit("atheris is not installed: pip install -e '.[dev,fuzz]' (Linux and macOS)")
    assert PAYLOADS.keys() == targets().keys()
    failed = False
    for name in options.target or PAYLOADS:
        report = fuzz(name, options.payloads or PAYLOADS[name], options.seed)
        print(json.dumps(report), flush=True)
        failed |= bool(report["crashes"]) or report["steady_growth"] > MOST_GROWTH
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
