"""`tocsin run`: the agent."""

from collections.abc import Callable
from pathlib import Path

import structlog

from agent.assembly import assembled, kafka_settings
from agent.commands.serving import Front, tls
from agent.config import Config
from agent.errors import TocsinError
from agent.heap import keep_little
from agent.loop import Loop
from agent.pipeline import Pipeline
from agent.reloading import Reload
from agent.stopping import Stop


def run_agent(path: Path, load: Callable[[Path], Config]) -> None:
    """Run until SIGTERM or SIGINT. The process is live before Kafka answers.

    Another configuration takes the place of the old one between a checkpoint and the next record:
    the agent stops and starts as it would in another process, but goes on answering.
    """
    keep_little()
    config = usable(path, load)
    log = structlog.get_logger("agent.run")
    with Stop() as stop, Reload(path, lambda p: usable(p, load)) as reload, Front() as front:

        def go_on(loop: Loop) -> None:
            loop.reload = reload
            front.show(config.http, loop)
            log.info("listening", port=front.port, models=list(config.models), config=config.hash)
            for line in config.unused():
                log.warning("not in use", key=line)
            loop.run(lambda: stop.requested() or reload.wanted())

        while True:
            with assembled(config) as loop:
                go_on(loop)
            if stop.requested():
                break
            before, config = config, reload.take()
            try:
                front.check(config.http)
                reload.applied(config)
            except TocsinError as error:
                reload.refused(error)
                config = before
    log.info("stopped")


def usable(path: Path, load: Callable[[Path], Config]) -> Config:
    """The configuration in a file; TocsinError where an agent cannot be run with it."""
    config = load(path)
    config.require_kafka()
    tls(config.http)  # what is wrong with its files is said before anything starts
    kafka_settings(config)
    Pipeline(config)
    return config
