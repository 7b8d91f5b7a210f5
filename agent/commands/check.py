"""`tocsin check`: configuration, profiles and, if asked, brokers and topics."""

from collections.abc import Callable
from pathlib import Path

import click

from agent.commands.serving import tls
from agent.config import Config
from agent.errors import Exit, TocsinError
from agent.model import Model
from agent.profile_file import load


def run_check(config: Config, path: Path, connect: bool) -> Exit:
    """Print each problem in one line; what is fine is said as well."""
    problems = [line for name in config.models for line in _profile_problems(config, name)]
    unusable = _certificate_problems(config)
    problems += unusable
    for line in problems:
        click.echo(f"{path}: {line}", err=True)
    code = Exit.USAGE if problems else Exit.OK
    for line in config.unused():
        click.echo(f"{path}: note: {line}")
    if connect and not unusable:
        unreachable = _topic_problems(config)
        for line in unreachable:
            click.echo(f"{path}: {line}", err=True)
        code = code or (Exit.FAILED if unreachable else Exit.OK)
    if code == Exit.OK:
        models = ", ".join(config.models)
        click.echo(f"{path}: fine ({models}; configuration {config.hash})")
    return code


def _profile_problems(config: Config, name: str) -> list[str]:
    model = config.models[name]
    if model.profile is None:
        return []
    try:
        profile, digest = load(model.profile)
        Model(name, model, config, profile, digest)
    except TocsinError as error:
        return [f"models.{name}: {error}"]
    return []


def _certificate_problems(config: Config) -> list[str]:
    from agent.assembly import kafka_settings

    found = _problem(lambda: tls(config.http))
    if config.kafka.bootstrap_servers:
        found += _problem(lambda: kafka_settings(config))
    return found


def _problem(attempt: Callable[[], object]) -> list[str]:
    try:
        attempt()
    except TocsinError as error:
        return [str(error)]
    return []


def _topic_problems(config: Config) -> list[str]:
    from agent.assembly import kafka_settings
    from agent.intake.kafka import check_topics

    config.require_kafka()
    topics = {
        name: (model.predictions.topic, model.feedback.topic)
        for name, model in config.models.items()
    }
    return check_topics(kafka_settings(config), topics)
