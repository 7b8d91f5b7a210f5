"""A producer whose buffer has a bound."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

from kafka import KafkaProducer, errors

from agent.intake.kafka.network import Network, reason_of, unreachable
from agent.intake.kafka.settings import LASTING, MEBIBYTE, KafkaSettings

# The record itself is what the broker objects to: it will never take it.
REFUSED = (
    errors.InvalidRecordError,
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
)

Delivery = Literal["delivered", "refused", "failed"]


class KafkaSink:
    """Sends records, each in the order given within its partition, acknowledged by all replicas.

    kafka-python's own buffer has no bound, so this one counts the bytes it has not yet seen
    acknowledged. For use by one thread.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        *,
        max_block: float = 1.0,
        buffer_bytes: int = 16 * MEBIBYTE,
        max_record_bytes: int = MEBIBYTE,
        compression: str | None = None,
        linger: float = 0.005,
    ) -> None:
        """Returns at once, whether or not a broker answers. `compression`: gzip, snappy, ..."""
        self._settings = settings
        # One half for the connection and room, the other for the metadata of a new topic.
        self._patience = max_block / 2
        self._buffer_bytes = buffer_bytes
        self._options = settings.for_client(
            KafkaProducer,
            compression_type=compression,
            linger_ms=int(linger * 1000),
            batch_size=64 * 1024,
            max_request_size=max_record_bytes,
            max_block_ms=int(self._patience * 1000),
            **LASTING,
        )
        self._producer: Any = None
        self._changed = threading.Condition()
        self._pending = 0
        self._failed_since_flush = False
        self._problem = ""
        self._network = Network(settings, self._options)

    @property
    def problem(self) -> str:
        """What keeps records from being delivered, in one line; empty where nothing does."""
        return self._network.problem or self._problem

    def send(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
        done: Callable[[Delivery], None] | None = None,
        partition: int | None = None,
    ) -> bool:
        """Take a record into the buffer; False where that was not possible within `max_block`.

        Without a `partition` the key decides.

        `done` is told later, on another thread, what became of a record that was taken.
        Raises ValueError for a record over `max_record_bytes` or without both key and value.
        """
        deadline = time.monotonic() + self._patience
        size = 100 + len(key or b"") + len(value or b"")
        size += sum(len(name) + len(content) for name, content in headers)
        if not (self._connected(self._patience) and self._reserve(size, deadline)):
            return False
        try:
            future = self._producer.send(
                topic, value=value, key=key, headers=list(headers), partition=partition
            )
        except BaseException as error:
            self._release(size)
            if isinstance(error, errors.MessageSizeTooLargeError):
                raise ValueError(f"record for {topic}: {reason_of(error)}") from None
            if isinstance(error, errors.KafkaError):
                self._problem = f"sending to topic {topic}: {reason_of(error)}"
                return False
            raise
        future.add_callback(lambda _: self._delivered(size))
        future.add_errback(lambda error: self._failed(size, topic, error))
        if done is not None:
            future.add_callback(lambda _: done("delivered"))
            future.add_errback(
                lambda error: done("refused" if isinstance(error, REFUSED) else "failed")
            )
        return True

    def _connected(self, timeout: float) -> bool:
        if self._producer is None and self._network.wait(timeout):
            self._network.hand_over()
            try:
                self._producer = KafkaProducer(kafka_client=self._network.client, **self._options)
            except (errors.KafkaError, ValueError, RuntimeError) as error:
                raise unreachable(self._settings, error) from error
        return self._producer is not None

    def _reserve(self, size: int, deadline: float) -> bool:
        with self._changed:
            room = self._changed.wait_for(
                lambda: self._pending == 0 or self._pending + size <= self._buffer_bytes,
                timeout=max(0.0, deadline - time.monotonic()),
            )
            if room:
                self._pending += size
            return room

    def _release(self, size: int) -> None:
        with self._changed:
            self._pending -= size
            self._changed.notify_all()

    def _delivered(self, size: int) -> None:
        self._problem = ""
        self._release(size)

    def _failed(self, size: int, topic: str, error: BaseException) -> None:
        self._problem = f"sending to topic {topic}: {reason_of(error)}"
        self._failed_since_flush = True
        self._release(size)

    def flush(self, timeout: float) -> bool:
        """Whether all that was taken since the last flush has been delivered, waiting for it."""
        if self._producer is None:
            return True
        deadline = time.monotonic() + timeout
        try:
            self._producer.flush(timeout)
        except errors.KafkaTimeoutError:
            return False
        with self._changed:
            settled = self._changed.wait_for(
                lambda: self._pending == 0, timeout=max(0.0, deadline - time.monotonic())
            )
            failed, self._failed_since_flush = self._failed_since_flush, False
        return settled and not failed

    @property
    def is_settled(self) -> bool:
        """Is nothing under way any more, delivered or not?"""
        return self._pending == 0

    def close(self, timeout: float = 5.0) -> None:
        """Deliver what can be within `timeout` seconds and free everything; safe to call twice."""
        producer, self._producer = self._producer, None
        if producer is None:
            self._network.close()
            return
        try:
            producer.close(timeout)
        except errors.KafkaTimeoutError:
            # kafka-python leaves its thread running here.
            producer._sender.force_close()
