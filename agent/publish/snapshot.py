"""The immutable picture of everything, which publishers read. A scrape never touches live state."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.intake.source import TopicPartition


@dataclass(frozen=True, slots=True)
class Histogram:
    """Cumulative histogram: `counts[i]` observations at most `bounds[i]`; the last bound is inf."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


@dataclass(frozen=True, slots=True)
class Contributor:
    """A part in a change: of a feature, or of a segment of rows by a feature.

    Shares of all features of one alarm, and of all segments by one feature, add up to at most 1.
    """

    feature: str
    share: float
    segment: str = ""  # as in the metrics: region=north


@dataclass(frozen=True, slots=True)
class Effect:
    """How large a change is: a named measure, its value now and in the reference."""

    measure: str
    value: float
    reference: float


@dataclass(frozen=True, slots=True)
class Offsets:
    """Records of one partition, from the first to the last offset."""

    topic: str
    partition: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Alarm:
    """An alarm as raised. Times are milliseconds since the epoch (event time)."""

    id: str
    model: str
    version: str
    kind: str
    detector: str
    target: str
    severity: str
    raised_at: int
    onset: int
    onset_earliest: int
    onset_latest: int
    effect: Effect
    evidence: float  # log of the evidence at the moment of ringing
    budget: str
    contributors: tuple[Contributor, ...]
    profile: str
    recommended_action: str
    runbook: str
    cleared_at: int | None = None
    configuration: str = ""  # hash of the configuration
    offsets: tuple[Offsets, ...] = ()  # records whose panes it rests on, from onset to raised_at
    cleared_reason: str = ""  # passed, accepted
    acknowledged_at: int | None = None  # wall clock
    acknowledged_by: str = ""
    acknowledged_comment: str = ""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A record that could not be used, cut short."""

    topic: str
    partition: int
    offset: int
    reason: str
    excerpt: str


@dataclass(frozen=True, slots=True)
class Records:
    """Counts of a model's records. Keys are label values in the order of the metric's labels."""

    predictions: Mapping[tuple[str, ...], float] = field(default_factory=dict)  # version
    feedback: Mapping[tuple[str, ...], float] = field(default_factory=dict)  # outcome
    rejected: Mapping[tuple[str, ...], float] = field(default_factory=dict)  # topic, reason
    forgotten: float = 0.0  # predictions given up for want of memory before a label came
    late: Mapping[tuple[str, ...], float] = field(default_factory=dict)  # topic
    label_delay: Histogram | None = None
    latency: Mapping[str, Histogram] = field(default_factory=dict)  # version


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model's numbers. Keys are label values in the order of the metric's labels."""

    model: str
    task: str
    profile: str  # hash of the profile; empty while learning
    learned: bool  # the profile was learned from traffic
    first_time: int | None
    last_time: int | None
    watermark: int | None  # event time up to which everything is folded, milliseconds
    panes: int
    is_judged: bool = True  # by this agent: otherwise by another one of its group
    records: Records = Records()  # of the partitions at hand, whoever has counted them
    told: Records = Records()  # as this process tells them: never less than before
    label_coverage: float | None = None
    missing: Mapping[tuple[str, ...], float] = field(default_factory=dict)  # feature, window
    invalid: Mapping[tuple[str, ...], float] = field(default_factory=dict)  # feature, window
    unseen: Mapping[tuple[str, ...], float] = field(default_factory=dict)  # feature, window
    drift: Mapping[tuple[str, ...], float] = field(default_factory=dict)  # target, measure, window
    evidence: Mapping[tuple[str, ...], float] = field(
        default_factory=dict
    )  # detector, target, severity
    performance: Mapping[tuple[str, ...], float] = field(
        default_factory=dict
    )  # version, metric, segment, window
    fairness: Mapping[tuple[str, ...], float] = field(
        default_factory=dict
    )  # attribute, group, measure, window
    detectable_shift: Mapping[tuple[str, ...], float] = field(default_factory=dict)  # target
    blind: Mapping[tuple[str, ...], float] = field(
        default_factory=dict
    )  # reason: 1 where it holds, else 0
    alarms: tuple[Alarm, ...] = ()  # standing, newest first
    cleared: tuple[Alarm, ...] = ()  # the last few that have passed, newest first
    alarms_total: Mapping[tuple[str, ...], float] = field(default_factory=dict)  # kind, severity
    recent_rejected: tuple[Rejected, ...] = ()
    pane_seconds: Histogram | None = None
    learning: tuple[int, int] | None = None  # predictions seen and needed, while learning
    traffic: tuple[float, ...] = ()  # predictions of the last buckets, oldest first (sparkline)
    traffic_bucket: int = 0  # milliseconds that one bucket of `traffic` spans; 0: not known


@dataclass(frozen=True, slots=True)
class CheckpointStatus:
    """How well state is kept."""

    saved_at: Mapping[str, float] = field(default_factory=dict)  # by model; seconds, wall clock
    failures: int = 0
    size: int = 0  # bytes of the last one, of all models together
    restores: Mapping[str, int] = field(default_factory=dict)  # by outcome
    missed: Mapping[str, int] = field(default_factory=dict)  # by topic: records gone unread


@dataclass(frozen=True, slots=True)
class ReloadStatus:
    """What became of the newest configuration file."""

    is_successful: bool = True
    at: float | None = None  # when the configuration in use was read; seconds, wall clock
    problem: str = ""  # why a newer one is refused


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything at one moment."""

    taken_at: float  # seconds since the epoch, wall clock
    started_at: float
    ready: bool
    ready_reason: str  # why not ready; empty where it is
    is_restored: bool = True  # what checkpoints hold of the models, or that they hold nothing
    models: Mapping[str, ModelStatus] = field(default_factory=dict)
    lag: Mapping[TopicPartition, int] = field(default_factory=dict)
    unrouted: Mapping[tuple[str, ...], float] = field(default_factory=dict)  # topic, reason
    dead_letters: Mapping[str, float] = field(default_factory=dict)  # outcome
    events: Mapping[str, float] = field(default_factory=dict)  # outcome, and those `waiting`
    panes_refused: int = 0  # messages of the panes topic that fit no model here
    checkpoints: CheckpointStatus = field(default_factory=CheckpointStatus)
    reload: ReloadStatus = field(default_factory=ReloadStatus)
    page_budget: str = ""
    ticket_budget: str = ""
