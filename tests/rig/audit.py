"""Asks whether the packages that Tocsin brings have known vulnerabilities: `make audit`.

pip-audit asks PyPI and, where that knows nothing, OSV. Findings are an error. Where neither can be
asked nothing has been audited: that is said aloud, and is an error only where
TOCSIN_REQUIRE_AUDIT=1.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SERVICES = ("pypi", "osv")
EXTRAS = ("demo", "parquet")  # of what is shipped; tools of development are not
# Known to be vulnerable, so that a service which says nothing of it knows nothing.
CANARY = ("jinja2", "2.10")


@dataclass(frozen=True, slots=True)
class Found:
    """What a service said: findings as lines, and packages of which it knows nothing."""

    findings: tuple[str, ...]
    unknown: tuple[str, ...]


def shipped(name: str = "tocsin", extras: Iterable[str] = EXTRAS) -> dict[str, str]:
    """Name and version of every package that an installation brings, except its own."""
    found: dict[str, str] = {}
    waiting = [(name, frozenset(extras))]
    seen = set(waiting)
    while waiting:
        package, wanted = waiting.pop()
        for text in distribution(package).requires or ():
            needed = Requirement(text)
            marker = needed.marker
            if marker and not any(marker.evaluate({"extra": e}) for e in (*wanted, "")):
                continue
            key = (canonicalize_name(needed.name), frozenset(needed.extras))
            found[key[0]] = distribution(key[0]).version
            if key not in seen:
                seen.add(key)
                waiting.append(key)
    return found


def ask(service: str, packages: Mapping[str, str]) -> Found | None:
    """What a service says of these packages; None where it cannot be asked."""
    with tempfile.TemporaryDirectory() as folder:
        wanted, answer = Path(folder, "wanted.txt"), Path(folder, "answer.json")
        wanted.write_text("".join(f"{name}=={version}\n" for name, version in packages.items()))
        options = ["--disable-pip", "--no-deps", "--progress-spinner", "off", "--timeout", "15"]
        options += ["-r", str(wanted), "-s", service, "-f", "json", "-o", str(answer)]
        command = [sys.executable, "-m", "pip_audit", *options]
        run = subprocess.run(command, capture_output=True, text=True, timeout=300)
        if not answer.exists():
            last = (run.stderr.strip().splitlines() or ["no answer"])[-1]
            print(f"  {service}: {last[:160]}")
            return None
        return read(json.loads(answer.read_text()))


def read(answer: Mapping[str, Any]) -> Found:
    """pip-audit's answer, in JSON."""
    packages = answer["dependencies"]
    return Found(
        tuple(line for package in packages for line in _lines(package)),
        tuple(package["name"] for package in packages if "skip_reason" in package),
    )


def _lines(package: Mapping[str, Any]) -> Iterator[str]:
    for finding in package.get("vulns", ()):
        fixed = ", ".join(finding["fix_versions"]) or "no version yet"
        yield f"{package['name']} {package['version']}: {finding['id']}, fixed in {fixed}"


def audit(packages: Mapping[str, str]) -> int:
    """Print what is known of these packages; the exit code."""
    for service in SERVICES:
        canary = ask(service, dict([CANARY]))
        if canary is None or not canary.findings:
            print(f"  {service}: cannot be asked: of {'=='.join(CANARY)} it knows nothing bad")
            continue
        found = ask(service, packages)
        if found is None:
            continue
        for line in found.findings:
            print(f"  VULNERABLE: {line}")
        for name in found.unknown:
            print(f"  not audited: {name}, which {service} does not know")
        audited = len(packages) - len(found.unknown)
        print(f"audited {audited} of {len(packages)} packages with {service}")
        return 1 if found.findings else 0
    required = os.environ.get("TOCSIN_REQUIRE_AUDIT") == "1"
    print("*" * 78)
    print("* NOT AUDITED: no vulnerability service can be reached from here, so nothing is")
    print(f"* known of the {len(packages)} packages that Tocsin brings.")
    print("*" * 78, flush=True)
    return 1 if required else 0


if __name__ == "__main__":
    sys.exit(audit(shipped()))
