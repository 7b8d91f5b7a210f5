"""One target under the coverage-guided fuzzer (atheris), in a process of its own.

An input of the fuzzer is a batch of payloads. The process ends itself once enough have been
checked, after it has told in one line of JSON what it saw; a failure leaves its payloads behind.
"""

import json
import logging
import os
import random
import sys
import tempfile
import time
import traceback
from pathlib import Path

import atheris
import structlog

with atheris.instrument_imports(include=["agent", "detectors"]):
    from tests.fuzz.targets import SEPARATOR, checked, narrowed, targets

WARM = 0.2  # share of the payloads after which memory is measured first
SETTLED = 100_000  # payloads of the last part, in which the fuzzer itself keeps nothing


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Run:
    """Counts what is thrown at a target, and ends the process when it is enough."""

    def __init__(self, name: str, wanted: int, folder: Path, kept: Path) -> None:
        self._target = targets()[name]
        self._check = self._target.make(folder)
        self._name, self._wanted, self._kept = name, wanted, kept
        self._payloads = 0
        self._warm = 0
        self._began = time.monotonic()

    def test(self, data: bytes) -> None:
        """Check one input."""
        payloads = data.split(SEPARATOR)
        self._try(payloads)
        self._payloads += len(payloads)
        if not self._warm and self._payloads >= WARM * self._wanted:
            self._warm = resident()
        if self._payloads >= self._wanted:
            self._end()

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
            os._exit(1)

    def _end(self) -> None:
        """The same without the fuzzer, whose memory grows with what it finds, and the report."""
        guided, after = time.monotonic() - self._began, resident()
        rng = random.Random(0)
        settled, count, most = 0, 0, min(SETTLED, self._wanted)
        while count < most:
            payloads = self._target.batch_of((), rng)
            self._try(payloads)
            count += len(payloads)
            if not settled and count >= WARM * most:
                settled = resident()
        self._report(
            seconds=round(guided, 1),
            growth_bytes=after - self._warm,
            settled_payloads=count,
            settled_growth_bytes=resident() - settled,
        )
        os._exit(0)

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
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="tocsin-fuzz-", dir=_memory()) as work:
        run = Run(name, int(payloads), Path(work), Path(folder, "failures"))
        arguments = [sys.argv[0], str(corpus), "-max_len=400000", "-rss_limit_mb=4096", *options]
        atheris.Setup(arguments, run.test, custom_mutator=run.mutate)
        atheris.Fuzz()


def _memory() -> str | None:
    """A folder whose files stay in memory, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


if __name__ == "__main__":
    main()
