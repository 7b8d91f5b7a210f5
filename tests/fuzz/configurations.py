"""The target of the configuration: whatever the file holds, it loads or says in lines why not."""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from agent.config import Config, ConfigError, load
from tests.fuzz.mutate import BYTES, VALUES

MANUAL = Path(__file__).parents[2] / "docs" / "configuration.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
SECRET = "correct-horse-battery"
ENV = {
    "KAFKA_PASSWORD": SECRET,
    "PASSWORD": SECRET,
    "EMPTY": "",
    "NUMBER": "7",
    "BYTES": "\udcff",
    "NESTED": "${PASSWORD}",
}
SEEDS = [
    *(text.encode() for text in EXAMPLES),
    b"models: {credit: {task: binary}}\n",
    b"kafka: {sasl_plain_password: '${PASSWORD}', group_id: 'g${NUMBER}'}\n"
    b"models: {a: {task: regression}}\n",
    b"x: &x {task: binary, features: {age: {min: 0x10, max: 1e3}}}\nmodels: {a: *x, b: *x}\n",
]
NAMES = [*sorted(set(re.findall(r"[a-z_]{2,}", " ".join(EXAMPLES)))), "", "a.b", "é", "<<"]
TEXTS = (
    *("10s", "0s", "1ms", "5m", "30d", "2w", "99999999999999d", "1 per 30d", "0 per 1s", "256MB"),
    *("1GiB", "999999999999999GB", "binary", "multiclass", "regression", "broker:9092", ".", ".."),
    *(
        "${PASSWORD}",
        "x${PASSWORD}y",
        "${EMPTY}",
        "${NUMBER}",
        "${BYTES}",
        "${NESTED}",
        "${ABSENT}",
    ),
    *("${", "$$", "$${PASSWORD}", "${}", "${file:secret}", "${file:/dev/zero}", "${file:..}"),
    *("${file:\x00}", "${file:" + "a" * 5000 + "}", "roc_auc", "drift.ADWIN", "region", "page"),
)
FRAGMENTS = (
    *BYTES,
    *(b"&a ", b"*a", b"!!python/object:os.system ", b"!x ", b"<<: *x", b"? ", b"---\n", b"...\n"),
    *(
        b"|\n",
        b">-\n",
        b"'",
        b"#",
        b"%YAML 1.1\n",
        b"\xe2\x80\xa8",
        b"\\x",
        b"\xfe\xff",
        b"- ",
        b": ",
    ),
    *(b"${PASSWORD}", b"0o17", b".inf", b"1_000", b"1:30", b"yes", b"{a: {b: " * 30),
)


def loads(payload: bytes) -> Any:
    """The tree of a document, as PyYAML sees it; ValueError where it sees none."""
    try:
        return yaml.load(payload, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except Exception as error:  # whatever it is: the bytes are changed as bytes then
        raise ValueError from error


def dumps(tree: Any, rng: random.Random) -> bytes:
    """The tree as YAML, in one of several styles."""
    if rng.random() < 0.3:
        return json.dumps(tree).encode()
    style = rng.choice((None, False, True))
    try:
        text = yaml.dump(
            tree,
            Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper),
            default_flow_style=style,
            sort_keys=False,
            allow_unicode=rng.random() < 0.5,
        )
        return text.encode("utf-8", "surrogatepass")
    except Exception as error:
        raise ValueError from error


VALUES_OF_CONFIG = (*VALUES, *TEXTS, *TEXTS)


class Configurations:
    """Loads each payload as a file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tocsin.yaml"
        (folder / "secret").write_text(SECRET + "\n")

    def check(self, payloads: Sequence[bytes]) -> None:
        """Nothing but a configuration or problems of one line each, and no secret in either."""
        for payload in payloads:
            self._path.write_bytes(payload)
            try:
                config = load(self._path, ENV)
            except ConfigError as error:
                said = str(error)
                assert error.problems and said == "\n".join(error.problems)
                assert all(line.isprintable() for line in error.problems), error.problems
                assert all(line.startswith(str(self._path)) for line in error.problems)
            else:
                said = f"{config!r} {config} {config.unused()}"
                assert re.fullmatch("[0-9a-f]{12}", config.hash)
                again = Config.model_validate(config.model_dump(mode="json"))
                assert again.hash == config.hash
            assert SECRET not in said or SECRET.encode() in payload
