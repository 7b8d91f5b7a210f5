"""The `tocsin` command. Each subcommand's work is in a module of `agent.commands`."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from agent import __version__, log
from agent.config import Config, load, parse_duration
from agent.errors import Exit, TocsinError


class Duration(click.ParamType[int]):
    """A duration such as 90s or 7d, in milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Milliseconds; a usage error where it is no duration."""
        try:
            return value if isinstance(value, int) else parse_duration(value)
        except ValueError as error:
            self.fail(f"{value!r} {error}", param, ctx)


DURATION = Duration()
FILE = click.Path(path_type=Path)


def _common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command."""
    command = click.option("-v", "--verbose", is_flag=True, help="Say more.")(command)
    return click.option(
        "--config", "config_path", type=FILE, default="tocsin.yaml", help="The configuration file."
    )(command)


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="tocsin")
def tocsin() -> None:
    """The alarm bell for models in production."""


@tocsin.command()
@_common
@click.option("--for", "duration", type=DURATION, help="End by itself after this long.")
@click.option("--port", type=click.IntRange(0, 65535), default=9108, help="Of the status page.")
@click.option("--seed", type=int, default=1, help="Of the simulated traffic.")
@click.option("--in-memory", is_flag=True, help="Use no broker even where one can be had.")
def demo(
    config_path: Path, verbose: bool, duration: int | None, port: int, seed: int, in_memory: bool
) -> None:
    """See the whole product at work on one machine."""
    from agent.commands.demo import run_demo

    log.configure(verbose)
    run_demo(duration, port, seed, in_memory, verbose)


@tocsin.command()
@_common
def run(config_path: Path, verbose: bool) -> None:
    """Run the agent: Kafka in, Prometheus out."""
    from agent.commands.run import run_agent

    log.configure(verbose)
    run_agent(config_path, _load)


@tocsin.command()
@_common
@click.option("--model", help="The model; not needed where there is only one.")
@click.option("--data", type=FILE, help="Reference (training) data: CSV, JSONL or Parquet.")
@click.option("--test", type=FILE, help="Test data to compare with.")
@click.option("--out", type=FILE, help="The profile to write; default: the model's `profile`.")
@click.option("--json", "json_path", type=FILE, help="Write what was found here as well.")
@click.option("--budget", is_flag=True, help="Say what the alert budget means for this profile.")
@click.option("--show", type=FILE, help="Print a profile and do nothing else.")
def profile(
    config_path: Path,
    verbose: bool,
    model: str | None,
    data: Path | None,
    test: Path | None,
    out: Path | None,
    json_path: Path | None,
    budget: bool,
    show: Path | None,
) -> None:
    """Make a profile of reference data, and validate that data."""
    from agent.commands.profile import make_profile, show_profile

    log.configure(verbose)
    if show is not None:
        show_profile(show)
        return
    if data is None:
        raise click.UsageError("--data is missing: name the reference data, or --show a profile")
    config = _load(config_path)
    sys.exit(make_profile(config, _model(config, model), data, test, out, json_path, budget))


@tocsin.command()
@_common
@click.option("--model", help="The model; not needed where there is only one.")
@click.option("--predictions", type=FILE, required=True, help="Recorded predictions.")
@click.option("--feedback", type=FILE, help="Recorded feedback; default: labels in predictions.")
@click.option(
    "--label-delay", type=DURATION, default="0s", help="When labels without a time arrive."
)
@click.option("--json", "json_path", type=FILE, help="Write the result here.")
@click.option("--series", type=FILE, help="Write every pane's values here (Parquet).")
@click.option("--fail-on", type=click.Choice(["page", "ticket"]), help="Exit 1 on such an alarm.")
@click.option("--partitions", type=click.IntRange(1, 1024), default=1, hidden=True)
@click.option("--batch-rows", type=click.IntRange(1), default=50_000, hidden=True)
def replay(
    config_path: Path,
    verbose: bool,
    model: str | None,
    predictions: Path,
    feedback: Path | None,
    label_delay: int,
    json_path: Path | None,
    series: Path | None,
    fail_on: str | None,
    partitions: int,
    batch_rows: int,
) -> None:
    """Run the pipeline over recorded files: a test plan in CI, or an incident once more."""
    from agent.commands.replay import run_replay

    log.configure(verbose)
    config = _load(config_path)
    name = _model(config, model)
    options = {"label_delay": label_delay, "partitions": partitions, "batch_rows": batch_rows}
    sys.exit(run_replay(config, name, predictions, feedback, json_path, series, fail_on, **options))


@tocsin.command()
@_common
@click.option("--model", help="The model; not needed where there is only one.")
@click.option("--target", help="A feature, score, error, ...; default: all of them.")
@click.option("--by", default="", help="Who accepts it.")
@click.option("--comment", default="", help="Why.")
@click.option("--url", help="Of the running agent; default: what the configuration says of http.")
def accept(
    config_path: Path,
    verbose: bool,
    model: str | None,
    target: str | None,
    by: str,
    comment: str,
    url: str | None,
) -> None:
    """Take the new normal as the reference, in the running agent."""
    from agent.commands.accept import run_accept

    log.configure(verbose)
    config = _load(config_path)
    sys.exit(run_accept(config, _model(config, model), target, by, comment, url))


@tocsin.command()
@_common
@click.option("--connect", is_flag=True, help="Look at brokers and topics as well.")
def check(config_path: Path, verbose: bool, connect: bool) -> None:
    """Check configuration and profiles, and with --connect brokers and topics."""
    from agent.commands.check import run_check

    log.configure(verbose)
    sys.exit(run_check(_load(config_path), config_path, connect))


@tocsin.command()
@_common
def schema(config_path: Path, verbose: bool) -> None:
    """Print the JSON Schema of the configuration, for editors."""
    import json

    from agent.config import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def _load(path: Path) -> Config:
    return load(path, os.environ)


def _model(config: Config, name: str | None) -> str:
    if name is None and len(config.models) == 1:
        return next(iter(config.models))
    if name is None:
        raise click.UsageError(f"--model is missing: one of {', '.join(config.models)}")
    if name not in config.models:
        raise click.UsageError(
            f"no model {name!r}: the configuration has {', '.join(config.models)}"
        )
    return name


def main() -> None:
    """Entry point: errors become one line and an exit code, never a traceback."""
    try:
        tocsin(standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        _complain(error.format_message())
        sys.exit(Exit.USAGE)
    except TocsinError as error:
        _complain(str(error))
        sys.exit(error.exit_code)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(Exit.OK)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if _verbose():
            raise
        _complain(f"failed unexpectedly: {type(error).__name__}: {error} (-v shows where)")
        sys.exit(Exit.FAILED)


def _complain(text: str) -> None:
    for line in text.splitlines():
        click.echo(f"tocsin: {line}", err=True)


def _verbose() -> bool:
    return "-v" in sys.argv or "--verbose" in sys.argv


if __name__ == "__main__":
    main()
