"""Logging: one set-up for Tocsin's own lines and those of its libraries."""

import logging
import os
import sys
from typing import TextIO

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

OWN = ("agent", "detectors")


def configure(verbose: bool = False, stream: TextIO | None = None) -> None:
    """Send all logging to `stream`, standard error by default.

    The lines are JSON, or readable where the stream is a terminal.
    Tocsin's loggers speak from INFO up, libraries from WARNING up; `verbose` adds Tocsin's DEBUG,
    the libraries' INFO, and tracebacks, which otherwise are cut to one line. Times are UTC, ISO
    8601. Calling it again replaces what was set up before.
    """
    stream = sys.stderr if stream is None else stream
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info if verbose else _one_line_error,
    ]
    render: list[Processor] = [structlog.processors.JSONRenderer()]
    if stream.isatty():
        colors = "NO_COLOR" not in os.environ
        render = [_printable, structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0)]
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO if verbose else logging.WARNING)
    for name in OWN:
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)
    # kafka-python writes an error at every retry; what keeps records from coming is told once, by
    # readiness and the status page.
    logging.getLogger("kafka").setLevel(logging.INFO if verbose else logging.CRITICAL)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )


def _one_line_error(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """In place of a traceback: the error's type and message."""
    raised = event.pop("exc_info", None)
    if raised is True:
        raised = sys.exc_info()
    error = raised[1] if isinstance(raised, tuple) else raised
    if isinstance(error, BaseException):
        event.setdefault("error", f"{type(error).__name__}: {error}")
    return event


def _printable(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Escape control characters, which could forge a line or steer a terminal."""
    for key, value in event.items():
        # A traceback under -v keeps its lines.
        if isinstance(value, str) and not value.isprintable() and key != "exception":
            event[key] = "".join(
                c if c.isprintable() else c.encode("unicode_escape").decode() for c in value
            )
    return event
