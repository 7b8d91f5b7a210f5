"""The configuration as a whole: what stands at the top of the file, and its sections.

A section has a module of its name beside this one; each of `models` is in `model`. JSON Schema, the
manual's table and the messages about unknown keys all come from these classes.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from agent.config.alerts import AlertsConfig
from agent.config.checkpoint import CheckpointConfig
from agent.config.errors import ConfigError
from agent.config.http import HttpConfig
from agent.config.kafka import KafkaConfig
from agent.config.model import ModelConfig
from agent.config.types import Count, ModelName, Section, wrong
from agent.config.units import DurationMs, PositiveDurationMs, parse_duration


class Config(Section):
    """The whole file."""

    kafka: KafkaConfig = Field(
        default_factory=KafkaConfig, description="Brokers, group, topics and login."
    )
    alerts: AlertsConfig = Field(
        default_factory=AlertsConfig,
        description="False alarms tolerated, over all models and detectors of this file.",
    )
    pane: PositiveDurationMs = Field(
        default=parse_duration("10s"), description="Event time that one evaluation covers."
    )
    lateness: DurationMs = Field(
        default=parse_duration("1s"),
        description="Disorder a partition may show before a row counts as late.",
    )
    ahead: DurationMs = Field(
        default=parse_duration("1h"), description="How far in the future a timestamp may lie."
    )
    windows: tuple[PositiveDurationMs, ...] = Field(
        default=tuple(parse_duration(w) for w in ("5m", "1h", "1d")),
        description="Over which values are shown; multiples of `pane`.",
    )
    warmup: Count = Field(
        default=10_000, description="Predictions to learn from where a model has no profile."
    )
    checkpoint: CheckpointConfig = Field(
        default_factory=CheckpointConfig, description="How state outlives a restart."
    )
    http: HttpConfig = Field(default_factory=HttpConfig, description="Where to serve, and to whom.")
    rejected_samples: bool = Field(
        default=True,
        description="Whether the beginnings of the last rejected records are shown.",
    )
    models: Annotated[Mapping[ModelName, ModelConfig], Field(min_length=1)] = Field(
        description="The monitored models by name."
    )

    _file: Path = PrivateAttr(Path("tocsin.yaml"))

    @field_validator("windows")
    @classmethod
    def _multiples(cls, windows: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        if not windows:
            raise wrong("is empty: write at least one window")
        pane = info.data.get("pane")
        for index, window in enumerate(windows):
            if pane is not None and window % pane:
                raise wrong("is not a multiple of pane", index)
        return tuple(sorted(set(windows)))

    @field_validator("models")
    @classmethod
    def _filled_in(
        cls, models: Mapping[str, ModelConfig], info: ValidationInfo
    ) -> Mapping[str, ModelConfig]:
        warmup = info.data.get("warmup", 0)
        filled = {name: _fill_in(name, model, warmup) for name, model in models.items()}
        _check_topics(filled, info.data.get("kafka"))
        _check_criteria(filled, info.data.get("pane"))
        return filled

    @model_validator(mode="after")
    def _several_agents(self) -> Self:
        """What several agents cannot do together."""
        if self.kafka.several_agents:
            for name, model in self.models.items():
                if model.profile is None:
                    text = "is needed with kafka.several_agents: none of them sees all traffic"
                    raise wrong(text, "models", name, "profile")
            if self.checkpoint.directory is not None:
                text = "is for one agent alone: leave it out with kafka.several_agents"
                raise wrong(text, "checkpoint", "directory")
        return self

    @model_validator(mode="after")
    def _default_windows(self) -> Self:
        """Check what the validator of `windows` does not see: its default."""
        if any(window % self.pane for window in self.windows):
            raise wrong("does not divide the default windows: write windows as well", "pane")
        return self

    def model_post_init(self, context: Any) -> None:
        """Remember the file, for messages."""
        self._file = (context or {}).get("file", self._file)

    @property
    def hash(self) -> str:
        """Short SHA-256 of the effective configuration, without secrets and places of files."""
        files = {name for name in KafkaConfig.model_fields if name.endswith("file")}
        without: Any = {
            "kafka": {**dict.fromkeys(files, True), "oauth": {"cafile"}},
            "http": {"tls", "basic", "bearer_token"},
            "checkpoint": {"directory"},
            "models": {"__all__": {"profile"}},
        }
        effective = self.model_dump(mode="json", exclude=without)
        text = json.dumps(effective, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def require_kafka(self) -> None:
        """Raise ConfigError where no broker is named."""
        if not self.kafka.bootstrap_servers:
            raise ConfigError(
                (f"{self._file}: kafka.bootstrap_servers: is missing: write host:port of a broker",)
            )

    def unused(self) -> list[str]:
        """What is set and validated, and not acted on by this version; one line each."""
        names: list[str] = []
        for name, model in self.models.items():
            keys = ("criteria", "champion")
            names += [f"models.{name}.{key}" for key in keys if getattr(model, key)]
            if model.protected and not model.compared():
                names.append(f"models.{name}.protected")
        return [f"{name}: accepted, not yet evaluated by this version" for name in names]

    def __repr__(self) -> str:
        """Names and hash; values could be secrets that were filled in."""
        return f"Config(models={list(self.models)}, hash={self.hash!r})"

    __str__ = __repr__


def _fill_in(name: str, model: ModelConfig, warmup: int) -> ModelConfig:
    """The model with what depends on its name or on the whole file."""
    predictions, feedback = model.predictions, model.feedback
    update = {
        "predictions": predictions.model_copy(
            update={"topic": predictions.topic or f"{name}.predictions"}
        ),
        "feedback": feedback.model_copy(update={"topic": feedback.topic or f"{name}.feedback"}),
        "warmup": model.warmup or warmup,
    }
    return model.model_copy(update=update)


def _check_topics(models: Mapping[str, ModelConfig], kafka: KafkaConfig | None) -> None:
    """No topic may hold two kinds of records, which could not be told apart."""
    kinds: dict[str, str] = {}
    if kafka is not None:
        kinds = {topic: key for key, topic in kafka.own_topics().items()}
    for name, model in models.items():
        for kind, topic in (
            ("predictions", model.predictions.topic),
            ("feedback", model.feedback.topic),
        ):
            other = kinds.setdefault(topic, kind)
            if other != kind:
                raise wrong(
                    f"is in use for {other} as well: use another topic", name, kind, "topic"
                )


def _check_criteria(models: Mapping[str, ModelConfig], pane: int | None) -> None:
    for name, model in models.items():
        for index, criterion in enumerate(model.criteria):
            if pane is not None and criterion.window % pane:
                text = "is not a multiple of pane"
                raise wrong(text, name, "criteria", index, "window")
