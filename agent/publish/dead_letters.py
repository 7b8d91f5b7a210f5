"""Dead letters: records that cannot be used, sent whole to a topic, with reason and origin."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from agent.intake.records import Rejection
from agent.intake.source import RawBatch, TableBatch
from agent.publish.outbox import Outbox, Record

Refuse = Callable[[RawBatch | TableBatch, Sequence[Rejection]], None]
"""Is told of the records of a batch that cannot be used."""


class Letters(Protocol):
    """What becomes of records that cannot be used, beside being counted."""

    @property
    def counts(self) -> Mapping[str, int]:
        """Letters by what became of them; empty where none are sent."""

    def refuse(
        self, model: str, batch: RawBatch | TableBatch, rejected: Sequence[Rejection]
    ) -> None:
        """Take them on. `model` is empty where a record of a shared topic names none."""

    def settle(self, timeout: float) -> bool:
        """Whether every letter has come to its end, waiting for that up to `timeout` seconds."""


class NoLetters:
    """No topic is configured: rejected records are only counted."""

    counts: Mapping[str, int] = {}

    def refuse(
        self, model: str, batch: RawBatch | TableBatch, rejected: Sequence[Rejection]
    ) -> None:
        """Leave it at that."""

    def settle(self, timeout: float) -> bool:
        """Nothing ever waits."""
        return True


def nobody(batch: RawBatch | TableBatch, rejected: Sequence[Rejection]) -> None:
    """A `Refuse` that leaves it at that."""


class DeadLetters:
    """Sends rejected records by an outbox."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    @property
    def counts(self) -> Mapping[str, int]:
        """Letters by what became of them."""
        return self._outbox.counts

    def refuse(
        self, model: str, batch: RawBatch | TableBatch, rejected: Sequence[Rejection]
    ) -> None:
        """Take on the rejected records of a batch. Never blocks; rows of tables are no records."""
        if rejected and isinstance(batch, RawBatch):
            self._outbox.put(_letters(model, batch, rejected))

    def settle(self, timeout: float) -> bool:
        """Whether every letter has come to its end, waiting for that up to `timeout` seconds.

        Whoever forgets where the records were read (a commit, a checkpoint) calls this before. It
        waits for a topic that takes letters, and not at all while it takes none.
        """
        return self._outbox.settle(timeout)


def _letters(model: str, batch: RawBatch, rejected: Sequence[Rejection]) -> Iterator[Record]:
    """Each as it was, its own headers before those that say why it is here and where it was."""
    for i, reason in ((rejection.index, rejection.reason) for rejection in rejected):
        key, value = batch.keys[i] if batch.keys else None, batch.values[i]
        origin = {
            "reason": reason,
            "model": model,
            "topic": batch.topic,
            "partition": batch.partition,
            "offset": batch.offsets[i],
            "timestamp": batch.times[i],  # milliseconds since the epoch, -1 where unknown
        }
        own = (
            [(name, content or b"") for name, content in batch.headers[i]] if batch.headers else []
        )
        headers = [(name, content or b"") for name, content in own]
        headers += [(f"tocsin.{name}", str(said).encode()) for name, said in origin.items()]
        # A record with neither key nor value is one that the client does not send.
        yield Record(key, b"" if key is None and value is None else value, headers)
