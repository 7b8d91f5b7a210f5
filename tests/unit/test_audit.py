"""The audit of dependencies: findings fail, and what was not audited is never called clean."""

import pytest

from tests.rig import audit
from tests.rig.audit import CANARY, SERVICES, Found, read, shipped

CLEAN = Found((), ())
BAD = Found(("jinja2 2.10: PYSEC-1, fixed in 2.10.1",), ())
PACKAGES = {"cheroot": "11.1.2", "numpy": "2.4.6"}


def services(monkeypatch: pytest.MonkeyPatch, **said: Found | None) -> list[str]:
    """What each service says of the packages; the canary is known to those that are named here."""
    asked: list[str] = []

    def ask(service: str, packages: dict[str, str]) -> Found | None:
        asked.append(service)
        if packages == dict([CANARY]):
            return BAD if service in said else CLEAN
        return said[service]

    monkeypatch.setattr(audit, "ask", ask)
    return asked


def test_a_finding_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    services(monkeypatch, pypi=BAD)
    assert audit.audit(PACKAGES) == 1
    assert "VULNERABLE: jinja2 2.10: PYSEC-1" in capsys.readouterr().out


def test_no_finding_passes_and_says_how_many_were_audited(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked = services(monkeypatch, pypi=Found((), ("numpy",)))
    assert audit.audit(PACKAGES) == 0
    said = capsys.readouterr().out
    assert "audited 1 of 2 packages with pypi" in said and "not audited: numpy" in said
    assert set(asked) == {"pypi"}


def test_a_service_that_does_not_know_the_canary_is_not_believed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked = services(monkeypatch, osv=BAD)
    assert audit.audit(PACKAGES) == 1
    assert set(asked) == set(SERVICES)


def test_where_none_can_be_asked_that_is_said_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    services(monkeypatch)
    assert audit.audit(PACKAGES) == 0
    assert "NOT AUDITED" in capsys.readouterr().out
    monkeypatch.setenv("TOCSIN_REQUIRE_AUDIT", "1")
    assert audit.audit(PACKAGES) == 1


def test_what_pip_audit_says_is_understood() -> None:
    answer = {
        "dependencies": [
            {"name": "numpy", "skip_reason": "Dependency not found on PyPI"},
            {"name": "cheroot", "version": "11.1.2", "vulns": []},
            {
                "name": "jinja2",
                "version": "2.10",
                "vulns": [
                    {"id": "PYSEC-2019-217", "fix_versions": ["2.10.1"], "aliases": []},
                    {"id": "PYSEC-0", "fix_versions": []},
                ],
            },
        ]
    }
    assert read(answer) == Found(
        (
            "jinja2 2.10: PYSEC-2019-217, fixed in 2.10.1",
            "jinja2 2.10: PYSEC-0, fixed in no version yet",
        ),
        ("numpy",),
    )


def test_all_that_is_shipped_is_audited_and_tools_are_not() -> None:
    packages = shipped()
    assert {"cheroot", "kafka-python", "pydantic-core", "markupsafe", "pyarrow"} <= set(packages)
    assert {"pytest", "ruff", "pip-audit", "tocsin"}.isdisjoint(packages)
    assert all(version[0].isdigit() for version in packages.values())
