"""Traffic by the million: predictions and feedback as records, and a fast way to fill topics.

Some of both come late or twice, some feedback is corrected or withdrawn; what is predicted, and how
well, does not change.
"""

from collections.abc import Sequence

import numpy as np
from kafka import KafkaAdminClient
from kafka.protocol.producer import ProduceRequest
from kafka.record.memory_records import MemoryRecordsBuilder

PARTITIONS = 2
PER_SECOND = 500  # predictions, in event time
NUMBERS = 8

PREDICTION = (
    b'{"id":"r-%d","timestamp":%d,"features":{'
    + b",".join(b'"x%d":%%.3f' % i for i in range(NUMBERS))
    + b',"region":"%s"},"score":%.4f}'
)
LABEL = b'{"id":"r-%d","timestamp":%d,"label":%s}'
# Share of the feedback that comes again, how much later (ms), and with which label: the same where
# there is none, another in half the cases where there is one, and none at all with null.
AGAIN = ((0.02, 0, None), (0.025, 60_000, b"1"), (0.005, 90_000, b"null"))
REGIONS = np.array([b"north", b"south", b"west"])

Records = tuple[np.ndarray, np.ndarray, list[bytes]]  # number of the id, time (ms), value


class Traffic:
    """Predictions and the feedback on them, block by block, in the order in which they come."""

    def __init__(self, start: int, seed: int = 1) -> None:
        self._start, self._random = start, np.random.default_rng(seed)
        self._made = 0
        self._coming = (np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, "S5"))

    def block(self, n: int, spoilt: bool = True) -> tuple[Records, Records]:
        """The next n predictions and what feedback has come by then; all of it if not `spoilt`."""
        random = self._random
        number = np.arange(self._made, self._made + n)
        time_ms = self._start + number * 1000 // PER_SECOND
        self._made += n
        x = random.normal(size=(n, NUMBERS))
        score = 1 / (1 + np.exp(-x[:, :3].sum(axis=1)))
        region = REGIONS[random.choice(3, n, p=[0.6, 0.3, 0.1])]
        label = np.where(random.random(n) < score, b"1", b"0").astype("S5")
        told = random.random(n) < 0.95
        came = time_ms + random.exponential(30_000, n).astype(np.int64)
        parts = [(number[told], came[told], label[told])]
        order = np.arange(n)
        if spoilt:
            time_ms = time_ms - 20_000 * (random.random(n) < 0.005)  # late
            order = np.sort(np.concatenate([order, np.flatnonzero(random.random(n) < 0.005)]))
            for share, after, says in (
                (0.02, 0, None),
                (0.025, 60_000, b"1"),
                (0.005, 90_000, b"null"),
            ):
                some = np.flatnonzero(told & (random.random(n) < share))
                again = label[some] if says is None else np.full(len(some), says, "S5")
                parts.append((number[some], came[some] + after, again))
        columns = zip(
            number[order], time_ms[order], *x[order].T, region[order], score[order], strict=True
        )
        predictions = (number[order], time_ms[order], [PREDICTION % row for row in columns])
        return predictions, self._feedback(parts, time_ms.max() if spoilt else came.max())

    def _feedback(self, parts: list[tuple[np.ndarray, ...]], until: int) -> Records:
        number, came, label = map(np.concatenate, zip(self._coming, *parts, strict=True))
        order = np.argsort(came, kind="stable")
        number, came, label = number[order], came[order], label[order]
        n = int(np.searchsorted(came, until, side="right"))
        self._coming = number[n:], came[n:], label[n:]
        rows = zip(number[:n].tolist(), came[:n].tolist(), label[:n].tolist(), strict=True)
        return number[:n], came[:n], [LABEL % row for row in rows]


class Filler:
    """Fills topics faster than a producer can: whole batches of records, a request each."""

    ROWS = 3000  # whose batch is smaller than what a broker takes

    def __init__(self, bootstrap: str) -> None:
        self._admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def fill(self, topic: str, records: Records) -> None:
        """Append to each partition the records whose ids belong there."""
        number, times, values = records
        for partition in range(PARTITIONS):
            mine = np.flatnonzero(number % PARTITIONS == partition)
            for rows in np.array_split(mine, len(mine) // self.ROWS + 1):
                if len(rows):
                    batch = [(int(times[i]), values[i]) for i in rows]
                    self._append(topic, partition, batch)

    def _append(self, topic: str, partition: int, batch: Sequence[tuple[int, bytes]]) -> None:
        builder = MemoryRecordsBuilder(2, 0, 1 << 20)
        for at, value in batch:
            if builder.append(at, None, value) is None:
                raise ValueError("a batch is too large: choose fewer rows")
        builder.close()
        data = ProduceRequest.TopicProduceData
        part = data.PartitionProduceData(index=partition, records=builder.buffer())
        request = ProduceRequest(
            transactional_id=None,
            acks=1,
            timeout_ms=30_000,
            topic_data=[data(name=topic, partition_data=[part])],
            min_version=3,
            max_version=9,
        )

        async def send() -> object:
            return await self._admin._manager.send(request, node_id=1)

        (answer,) = self._admin._manager.run(send).responses
        if answer.partition_responses[0].error_code:
            raise OSError(f"the broker refuses: {answer}")

    def close(self) -> None:
        self._admin.close()
