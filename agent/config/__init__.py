"""Reads the configuration file: `load` gives a `Config`, or a `ConfigError` with every problem."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from agent.config.alerts import AlertsConfig
from agent.config.errors import ConfigError
from agent.config.http import HttpConfig
from agent.config.kafka import KafkaConfig
from agent.config.model import (
    CriterionConfig,
    DetectorsConfig,
    FeatureConfig,
    FeedbackConfig,
    FieldsConfig,
    ModelConfig,
    PredictionsConfig,
    RiverConfig,
    Severity,
    Task,
)
from agent.config.problems import config_error, explain
from agent.config.root import Config
from agent.config.schema import documentation, json_schema
from agent.config.substitution import substitute
from agent.config.units import Rate, format_duration, format_size, parse_duration, parse_size
from agent.config.yaml_source import MAX_BYTES, Node, Problem, UnreadableYaml, parse, plain

__all__ = [
    "AlertsConfig",
    "Config",
    "ConfigError",
    "CriterionConfig",
    "DetectorsConfig",
    "FeatureConfig",
    "FeedbackConfig",
    "FieldsConfig",
    "HttpConfig",
    "KafkaConfig",
    "ModelConfig",
    "PredictionsConfig",
    "Rate",
    "RiverConfig",
    "Severity",
    "Task",
    "documentation",
    "format_duration",
    "format_size",
    "json_schema",
    "load",
    "parse_duration",
    "parse_size",
]


def load(path: Path, env: Mapping[str, str]) -> Config:
    """The configuration in a file, with references to `env` and to files filled in.

    Raises ConfigError with everything that is wrong, not only the first.
    """
    try:
        root, problems = parse(_read(path))
    except UnreadableYaml as error:
        raise config_error(path, [error.problem]) from None
    problems += substitute(root, env, path.parent)
    config, invalid = _validate(root, path)
    problems += invalid
    if config is None or problems:
        raise config_error(path, problems)
    return config


def _read(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise UnreadableYaml("is a folder: name the file in it with --config")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UnreadableYaml("does not exist: write it, or name another with --config") from None
    except OSError as error:
        raise UnreadableYaml(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise UnreadableYaml("is no name that a file can have") from None


def _validate(root: Node, path: Path) -> tuple[Config | None, list[Problem]]:
    if not isinstance(root.value, dict):
        return None, [Problem("is not a mapping of keys: start with 'models:'", root.line)]
    try:
        context = {"file": path, "folder": path.parent}
        return Config.model_validate(plain(root), context=context), []
    except ValidationError as error:
        return None, explain(error, root)
