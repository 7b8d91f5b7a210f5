"""Errors that reach a person: one line each, where the trouble is and how to mend it."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    NOT_PASSED = 1  # the data or a quality criterion did not pass
    USAGE = 2  # wrong usage, configuration, profile or file
    FAILED = 3  # a component could not be reached or failed


class TocsinError(Exception):
    """Shown as `tocsin: MESSAGE` on standard error, without a traceback."""

    exit_code = Exit.FAILED


class UsageError(TocsinError):
    """Something the user wrote cannot be used: configuration, profile, file, option."""

    exit_code = Exit.USAGE


class UnreachableError(TocsinError):
    """A broker, registry or store could not be reached or gave up."""

    exit_code = Exit.FAILED
