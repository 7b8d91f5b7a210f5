"""Configuration of one monitored model: every key with its type, default and description."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from agent.config.types import (
    ClassPaths,
    ColumnPath,
    ColumnPaths,
    Count,
    FilePath,
    Memory,
    MetricName,
    Name,
    Number,
    OpenProbability,
    PositiveNumber,
    Probability,
    RiverName,
    Scalar,
    Section,
    SegmentBy,
    Topic,
    wrong,
)
from agent.config.units import (
    DurationMs,
    PositiveDurationMs,
    parse_duration,
    parse_size,
)

Task = Literal["binary", "multiclass", "regression"]
Severity = Literal["page", "ticket"]


def _supported(value: str) -> str:
    if value != "json":
        raise wrong("is not supported yet: write json")
    return value


Format = Annotated[
    Literal["json", "avro", "protobuf", "kserve"],
    AfterValidator(_supported),
]


class PredictionsConfig(Section):
    """Where a model's predictions come from."""

    topic: Topic = Field(
        default_factory=str,
        description="Topic of predictions.",
        json_schema_extra={"x-default": "`NAME.predictions`"},
    )
    format: Format = Field(default="json", description="Payload; only json is supported yet.")


class FeedbackConfig(Section):
    """Where a model's outcomes come from, and how long they are waited for."""

    topic: Topic = Field(
        default_factory=str,
        description="Topic of feedback.",
        json_schema_extra={"x-default": "`NAME.feedback`"},
    )
    format: Format = Field(default="json", description="Payload; only json is supported yet.")
    horizon: PositiveDurationMs = Field(
        default=parse_duration("30d"), description="How long to wait for a label."
    )
    corrections: DurationMs = Field(
        default=parse_duration("1d"), description="How long a label can still be corrected."
    )
    early: DurationMs = Field(
        default=parse_duration("1h"),
        description="How long before its prediction feedback may come.",
    )
    memory: Memory = Field(
        default=parse_size("256MB"),
        description="Bound on the memory of a partition's predictions waiting for a label.",
    )


class FieldsConfig(Section):
    """Where a value stands: a dotted path in a record, a column in a file."""

    id: ColumnPath = Field(default="id", description="Id of a prediction.")
    time: ColumnPath = Field(default="timestamp", description="Time of a prediction.")
    version: ColumnPath = Field(default="version", description="Version of the model.")
    prediction: ColumnPath = Field(default="prediction", description="Predicted label or number.")
    score: ColumnPath = Field(
        default="score", description="Binary: probability of the positive class."
    )
    scores: ClassPaths = Field(
        default="scores",
        description="Multiclass: an object of class to probability, or a path a class.",
    )
    latency_ms: ColumnPath = Field(default="latency_ms", description="Latency in milliseconds.")
    features: ColumnPaths = Field(
        default="features", description="An object of features, or their paths."
    )
    label: ColumnPath = Field(default="label", description="Outcome.")
    feedback_id: ColumnPath = Field(
        default="id", description="Id of the prediction that feedback is of."
    )
    feedback_time: ColumnPath = Field(default="timestamp", description="Time of feedback.")
    model: ColumnPath = Field(
        default="model",
        description="Name of the model, where several share a topic; absent: this model's.",
    )


class FeatureConfig(Section):
    """What the profile should not infer about a feature."""

    type: Literal["numeric", "categorical"] | None = Field(
        default=None, description="Kind of values; none: inferred."
    )
    min: Number | None = Field(default=None, description="Smallest valid value.")
    max: Number | None = Field(default=None, description="Largest valid value.")
    ignore: bool = Field(default=False, description="Leave this feature out altogether.")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        for name in ("min", "max"):
            if self.type == "categorical" and getattr(self, name) is not None:
                raise wrong("has no meaning for a categorical feature: remove it", name)
        _check_order(self)
        return self


class CriterionConfig(Section):
    """One line of a model's quality contract."""

    metric: MetricName = Field(description="What must hold, as metrics are named.")
    of: Name | None = Field(
        default=None, description="Feature, attribute or metric that it is about."
    )
    min: Number | None = Field(default=None, description="Smallest value that passes.")
    max: Number | None = Field(default=None, description="Largest value that passes.")
    window: PositiveDurationMs = Field(default=parse_duration("1d"), description="Over how long.")
    by: Name | None = Field(
        default=None, description="Segment in each value of which it must hold."
    )
    severity: Severity = Field(default="ticket", description="What a failure raises.")

    @model_validator(mode="after")
    def _bounds(self) -> Self:
        if self.min is None and self.max is None:
            raise wrong("has no bound: write min, max or both")
        _check_order(self)
        return self


def _check_order(bounds: FeatureConfig | CriterionConfig) -> None:
    if bounds.min is not None and bounds.max is not None and bounds.min > bounds.max:
        raise wrong("is more than max", "min")


class RiverConfig(Section):
    """A detector of river, run beside Tocsin's own."""

    detector: RiverName = Field(description="Class below `river`, such as `drift.ADWIN`.")
    on: Name = Field(
        default="error", description="What it watches: `error`, `score` or a numeric feature."
    )
    params: Mapping[Name, Scalar] = Field(
        default_factory=dict, description="Parameters of its constructor."
    )
    false_alarm_probability: OpenProbability | None = Field(
        default=None,
        description="Bound on its false alarms at one step; only ADWIN and KSWIN need none.",
    )


class DetectorsConfig(Section):
    """How the alert budget is shared out."""

    weights: Mapping[Name, PositiveNumber] = Field(
        default_factory=dict, description="Share of a detector beside the others; 1 where absent."
    )


class ModelConfig(Section):
    """One monitored model. Topics and `warmup` are filled in by the `Config` that holds it."""

    task: Task = Field(description="What the model does.")
    positive: Scalar = Field(
        default=1, description="Binary: the label that the score is the probability of."
    )
    threshold: Probability = Field(
        default=0.5, description="Binary: from which score on a prediction is positive."
    )
    predictions: PredictionsConfig = Field(
        default_factory=PredictionsConfig, description="Where predictions come from."
    )
    feedback: FeedbackConfig = Field(
        default_factory=FeedbackConfig, description="Where outcomes come from."
    )
    profile: FilePath | None = Field(
        default=None, description="Profile file; none: learned from the first `warmup` of traffic."
    )
    warmup: Count = Field(
        default_factory=int,
        description="Predictions to learn from where there is no profile.",
        json_schema_extra={"x-default": "the file's `warmup`"},
    )
    fields: FieldsConfig = Field(
        default_factory=FieldsConfig, description="Where values stand in a record or file."
    )
    features: Mapping[Name, FeatureConfig] = Field(
        default_factory=dict, description="What the profile should not infer, by feature."
    )
    segments: tuple[SegmentBy, ...] = Field(
        default=(),
        description="Columns that performance is split by; `{column: [edges]}` for numbers.",
    )
    protected: tuple[Name, ...] = Field(
        default=(),
        description="Categorical features whose groups are compared for fairness (classifiers).",
    )
    champion: Name | None = Field(
        default=None, description="Version that the others are compared with, in quotes."
    )
    criteria: tuple[CriterionConfig, ...] = Field(
        default=(), description="The quality contract of this model."
    )
    detectors: DetectorsConfig = Field(
        default_factory=DetectorsConfig, description="How the alert budget is shared out."
    )
    river: tuple[RiverConfig, ...] = Field(
        default=(), description="Detectors of river to run as well."
    )

    def segment_edges(self) -> dict[str, tuple[float, ...]]:
        """Columns to split by, each with its edges; none for a categorical column."""
        edges: dict[str, tuple[float, ...]] = {}
        for segment in self.segments:
            edges.update({segment: ()} if isinstance(segment, str) else segment)
        return edges

    def compared(self) -> tuple[str, ...]:
        """Attributes whose groups are compared for fairness: the protected ones of a classifier."""
        return () if self.task == "regression" else self.protected

    @model_validator(mode="after")
    def _distinct_attributes(self) -> Self:
        for index, name in enumerate(self.protected):
            if name in self.protected[:index]:
                raise wrong(f"names {name} again: leave it out", "protected", index)
        return self

    @model_validator(mode="after")
    def _known_segments(self) -> Self:
        segments = self.segment_edges()
        for index, criterion in enumerate(self.criteria):
            if criterion.by is not None and criterion.by not in segments:
                raise wrong("is not among this model's segments: add it", "criteria", index, "by")
        return self
