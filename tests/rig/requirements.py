"""A test that lacks a tool is skipped, saying what is missing; where all is required it fails."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache"


def missing(what: str) -> NoReturn:
    """Skip the test for want of `what`; fail it where TOCSIN_REQUIRE_ALL=1."""
    line = f"missing: {what}; `make test` installs it where it can"
    if os.environ.get("TOCSIN_REQUIRE_ALL") == "1":
        pytest.fail(line, pytrace=False)
    pytest.skip(line)


def command(name: str) -> str:
    """The path of a command that a test needs."""
    return shutil.which(name) or missing(f"the command {name}")
