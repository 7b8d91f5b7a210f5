"""One target under the coverage-guided fuzzer (atheris), in a process of its own.

An input of the fuzzer is a batch of payloads. The process ends itself once enough have been
checked, after it has told in one line of JSON what it saw; a failure leaves its payloads behind.
"""

import json
import os
import random
import shutil
import sys
import time
import traceback
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["agent", "detectors"]):
    from tests.fuzz.targets import SEPARATOR, checked, narrowed, targets, workspace


class Run:
    """Counts what is thrown at a target, and ends the process when it is enough."""

    def __init__(self, name: str, wanted: int, folder: Path, kept: Path) -> None:
        self._target = targets()[name]
        self._check = self._target.make(folder)
        self._name, self._wanted, self._folder, self._kept = name, wanted, folder, kept
        self._payloads = 0
        self._began = time.monotonic()

    def test(self, data: bytes) -> None:
        """Check one input."""
        payloads = data.split(SEPARATOR)
        self._try(payloads)
        self._payloads += len(payloads)
        if self._payloads >= self._wanted:
            seconds = time.monotonic() - self._began
            self._report(seconds=round(seconds, 1))
            self._exit(0)

    def mutate(self, data: bytes, limit: int, seed: int) -> bytes:
        """Another batch, of payloads like those of this one."""
        rng = random.Random(seed)
        made = SEPARATOR.join(self._target.batch_of(data.split(SEPARATOR), rng))
        return made if len(made) <= limit else made[:limit]

    def _try(self, payloads: list[bytes]) -> None:
        try:
            checked(self._check, payloads)
        except Exception:
            traceback.print_exc()
            self._kept.mkdir(parents=True, exist_ok=True)
            for number, payload in enumerate(narrowed(self._check, payloads)):
                (self._kept / f"{self._name}-{number}").write_bytes(payload)
                print(f"payload {number}: {payload[:2000]!r}", file=sys.stderr)
            self._report(crashes=1)
            self._exit(1)

    def _exit(self, code: int) -> None:
        """Nothing is unwound from within the fuzzer."""
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(code)

    def _report(self, crashes: int = 0, **more: float) -> None:
        report = {"target": self._name, "payloads": self._payloads, "crashes": crashes, **more}
        print(f"REPORT {json.dumps(report)}", file=sys.stderr, flush=True)


def main() -> None:
    """`python -m tests.fuzz.guided TARGET PAYLOADS FOLDER [option of libFuzzer ...]`."""
    name, payloads, folder, *options = sys.argv[1:]
    corpus = Path(folder, name)
    corpus.mkdir(parents=True, exist_ok=True)
    target = targets()[name]
    rng = random.Random(0)
    (corpus / "valid").write_bytes(SEPARATOR.join(target.mutator.seeds))
    (corpus / "changed").write_bytes(SEPARATOR.join(target.batch_of((), rng)))
    with workspace() as work:
        run = Run(name, int(payloads), work, Path(folder, "failures"))
        arguments = [sys.argv[0], str(corpus), "-max_len=400000", "-rss_limit_mb=4096", *options]
        atheris.Setup(arguments, run.test, custom_mutator=run.mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
