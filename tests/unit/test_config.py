"""The configuration: what loads, what is refused and in which words, and what is never shown."""

import json
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from agent.config import (
    Config,
    ConfigError,
    KafkaConfig,
    Rate,
    documentation,
    format_duration,
    format_size,
    json_schema,
    load,
    parse_duration,
    parse_size,
)
from agent.config.yaml_source import parse, plain
from agent.errors import Exit, UsageError

MANUAL = Path(__file__).parents[2] / "docs" / "configuration.md"
EXAMPLES = re.findall(r"```yaml\n(.*?)```", MANUAL.read_text(), re.DOTALL)
ENV = {"KAFKA_PASSWORD": "hunter2"}
OAUTH = "{token_url: 'https://idp.example/token', client_id: a, client_secret: b}"
MINIMAL = "models: {credit: {task: binary}}\n"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A relative name, so that messages read as they do for a user."""
    monkeypatch.chdir(tmp_path)
    return Path("tocsin.yaml")


def read(file: Path, text: str | bytes, env: Mapping[str, str] = ENV) -> Config:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load(file, env)


def problems(file: Path, text: str | bytes, env: Mapping[str, str] = ENV) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(file, text, env)
    return caught.value.problems


def model(*lines: str) -> str:
    """A file whose model has some more lines, which start at line 4."""
    return "\n".join(["models:", "  credit:", "    task: binary", *(f"    {x}" for x in lines)])


def as_data(text: str) -> object:
    return plain(parse(text.encode())[0])


# What loads


def test_ten_lines_are_enough(file: Path) -> None:
    short = EXAMPLES[0]
    assert len(short.splitlines()) <= 10
    config = read(file, short)
    credit = config.models["credit"]
    assert config.kafka.bootstrap_servers == ("broker:9092",)
    assert credit.predictions.topic == "credit.predictions"
    assert credit.feedback.topic == "credit.feedback"
    assert credit.profile == Path("credit.profile")
    config.require_kafka()


def test_defaults(file: Path) -> None:
    config = read(file, MINIMAL)
    credit = config.models["credit"]
    assert (config.pane, config.lateness, config.ahead) == (10_000, 1_000, 3_600_000)
    assert config.windows == (300_000, 3_600_000, 86_400_000)
    assert (str(config.alerts.page), str(config.alerts.ticket)) == ("1 per 365d", "1 per 30d")
    assert (config.http.host, config.http.port) == ("0.0.0.0", 9108)
    assert (credit.positive, credit.threshold, credit.warmup) == (1, 0.5, 10_000)
    assert credit.feedback.horizon == parse_duration("30d")
    assert credit.feedback.corrections == parse_duration("1d")
    assert credit.feedback.early == parse_duration("1h")
    assert credit.feedback.memory == 256_000_000
    assert (credit.fields.time, credit.fields.features) == ("timestamp", "features")
    assert credit.profile is None
    assert config.unused() == []


def test_full_example(file: Path) -> None:
    config = read(file, EXAMPLES[1])
    credit, intent = config.models["credit"], config.models["intent"]
    assert (credit.warmup, intent.warmup) == (20_000, 10_000)
    assert credit.segment_edges() == {"region": (), "age": (25.0, 40.0, 60.0)}
    assert intent.fields.scores == {"buy": "p.buy", "leave": "p.leave"}
    assert intent.fields.features == ("input.words", "input.hour")
    assert credit.river[0].params == {"delta": 0.002}
    assert config.unused() == [
        "models.credit.criteria: accepted, not yet evaluated by this version",
        "models.credit.champion: accepted, not yet evaluated by this version",
    ]
    assert config.kafka.client_options() == {
        "bootstrap_servers": ["broker-1:9092", "broker-2:9092"],
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "tocsin",
        "sasl_plain_password": "hunter2",
        "sasl_kerberos_service_name": "kafka",
        "ssl_check_hostname": True,
        "ssl_cafile": "ca.pem",
        "session_timeout_ms": 30_000,
        "heartbeat_interval_ms": 10_000,
    }


def test_relative_paths_start_at_the_file(tmp_path: Path) -> None:
    (tmp_path / "tocsin.yaml").write_text(model("profile: models/credit.profile"))
    config = load(tmp_path / "tocsin.yaml", {})
    assert config.models["credit"].profile == tmp_path / "models" / "credit.profile"


def test_windows_are_sorted_and_unique(file: Path) -> None:
    config = read(file, "windows: [1h, 5m, 60m]\n" + MINIMAL)
    assert config.windows == (300_000, 3_600_000)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("1", 1),
        ("0o17", 15),
        ("0x1F", 31),
        ("-1.5e3", -1500.0),
        ("'1'", "1"),
        ("!!str 1", "1"),
    ],
)
def test_labels_keep_their_meaning(file: Path, text: str, value: object) -> None:
    positive = read(file, model(f"positive: {text}")).models["credit"].positive
    assert (positive, type(positive)) == (value, type(value))


def test_keys_are_text(file: Path) -> None:
    config = read(file, model("features: {on: {min: 1}, 7: {max: 2}}"))
    assert list(config.models["credit"].features) == ["on", "7"]


def test_aliases_and_empty_sections(file: Path) -> None:
    text = (
        "http:\nmodels:\n  a: {task: binary, feedback: &wait {horizon: 7d}}\n"
        "  b: {task: regression, feedback: *wait}\n"
    )
    config = read(file, text)
    assert config.models["b"].feedback.horizon == parse_duration("7d")
    assert config.models["b"].feedback.topic == "b.feedback"
    assert config.http.port == 9108


def test_models_may_share_topics(file: Path) -> None:
    one = "{task: binary, predictions: {topic: all}, feedback: {topic: outcomes}}"
    config = read(file, f"models: {{a: {one}, b: {one}}}")
    assert {m.predictions.topic for m in config.models.values()} == {"all"}


def test_frozen(file: Path) -> None:
    config = read(file, MINIMAL)
    with pytest.raises(ValueError, match="frozen"):
        setattr(config, "pane", 1)  # noqa: B010


# What is refused, in which words


@pytest.mark.parametrize(
    ("lines", "line"),
    [
        (["treshold: 0.5"], "4: models.credit.treshold: unknown key: did you mean threshold?"),
        (
            ["predictions: {zzz: 1}"],
            "4: models.credit.predictions.zzz: unknown key: known here are topic, format",
        ),
        (["threshold: high"], "4: models.credit.threshold: 'high' is not a number"),
        (
            ["threshold: 2"],
            "4: models.credit.threshold: 2 is too large: write 1 or less",
        ),
        (["threshold: true"], "4: models.credit.threshold: true is not a number"),
        (["threshold: .nan"], "4: models.credit.threshold: nan is not a finite number"),
        (
            ["positive: [1]"],
            "4: models.credit.positive: a list is not a single value: "
            "write text, a number, true or false",
        ),
        (
            ["positive: null"],
            "4: models.credit.positive: nothing is not a single value: "
            "write text, a number, true or false",
        ),
        (
            ["predictions: {format: avro}"],
            "4: models.credit.predictions.format: 'avro' is not supported yet: write json",
        ),
        (
            ["predictions: {format: xml}"],
            "4: models.credit.predictions.format: 'xml' is not one of json, avro, protobuf, kserve",
        ),
        (
            ["predictions: {topic: a b}"],
            "4: models.credit.predictions.topic: 'a b' is no name for a Kafka topic: "
            "use letters, digits, '_', '.' and '-'",
        ),
        (
            ["feedback:", "  horizon: 30"],
            "5: models.credit.feedback.horizon: 30 has no unit: write 10s, 5m, 1h or 30d",
        ),
        (
            ["feedback:", "  horizon: 0s"],
            "5: models.credit.feedback.horizon: '0s' must be longer than nothing",
        ),
        (
            ["feedback: {memory: 10kB}"],
            "4: models.credit.feedback.memory: '10kB' is too small: write 1MB or more",
        ),
        (
            ["feedback: {topic: credit.predictions}"],
            "4: models.credit.feedback.topic: 'credit.predictions' is in use for predictions "
            "as well: use another topic",
        ),
        (
            ["fields: {features: [a, b.]}"],
            "4: models.credit.fields.features[1]: 'b.' is not a dotted path: "
            "write a name or outer.inner",
        ),
        (
            ["fields: {scores: 4}"],
            "4: models.credit.fields.scores: 4 is neither a path nor a mapping of class to path",
        ),
        (
            ["features: {age: {min: 3, max: 2}}"],
            "4: models.credit.features.age.min: 3 is more than max",
        ),
        (
            ["features: {age: {type: categorical, max: 2}}"],
            "4: models.credit.features.age.max: 2 has no meaning for a categorical feature: "
            "remove it",
        ),
        (["features: [age]"], "4: models.credit.features: a list is not a mapping: write 'name: "),
        (
            ["segments: [{age: [40, 25]}]"],
            "4: models.credit.segments[0].age: must ascend, each edge once: write [25, 40, 60]",
        ),
        (["segments: region"], "4: models.credit.segments: 'region' is not a list: write [a, b]"),
        (["champion: 3"], "4: models.credit.champion: 3 is not text: write it in quotes"),
        (
            ["criteria:", "  - {metric: recall}"],
            "5: models.credit.criteria[0]: has no bound: write min, max or both",
        ),
        (
            ["criteria:", "  - {min: 1}"],
            "5: models.credit.criteria[0].metric: is missing: add it (name of a metric)",
        ),
        (
            ["criteria: [{metric: recall, min: 1, by: sex}]"],
            "4: models.credit.criteria[0].by: 'sex' is not among this model's segments: add it",
        ),
        (
            ["criteria: [{metric: recall, min: 1, window: 15s}]"],
            "4: models.credit.criteria[0].window: '15s' is not a multiple of pane",
        ),
        (
            ["criteria: [{metric: recall, min: 1, severity: siren}]"],
            "4: models.credit.criteria[0].severity: 'siren' is not one of page, ticket",
        ),
        (
            ["river: [{detector: ADWIN}]"],
            "4: models.credit.river[0].detector: 'ADWIN' is not a detector of river: "
            "write drift.ADWIN or anomaly.HalfSpaceTrees",
        ),
        (
            ["detectors: {weights: {x: 0}}"],
            "4: models.credit.detectors.weights.x: 0 is too small: write more than 0",
        ),
        (["task: regression"], "4: models.credit.task: appears again (first on line 3): keep one"),
        (
            ["<<: {a: 1}"],
            "4: models.credit: merge keys (<<) are not supported: use an alias for a whole value",
        ),
        (
            ["? [a, b]", ": 1"],
            "4: models.credit: has a key that is not plain text: write 'key: value'",
        ),
        (
            ["profile: !!python/name:os.system x"],
            "4: models.credit.profile: tags are not supported: remove it",
        ),
        (
            ["profile: *gone"],
            "4: models.credit.profile: alias *gone has no complete anchor before it",
        ),
        (
            ["profile: ${GONE}"],
            "4: models.credit.profile: environment variable GONE is not set: set it",
        ),
        (
            ["profile: ${file:gone}"],
            "4: models.credit.profile: file 'gone' is not a file that exists: mount or write it",
        ),
        (
            ["profile: ${GONE"],
            "4: models.credit.profile: '${' is not closed by '}': write $$ for a plain dollar",
        ),
        (
            ["profile: ${GONE:-x}"],
            "4: models.credit.profile: '${…}' holds no name: "
            "write ${NAME}, ${file:/path} or $$ for a dollar",
        ),
    ],
)
def test_problem_in_a_model(file: Path, lines: list[str], line: str) -> None:
    (problem,) = problems(file, model(*lines))
    assert problem.startswith(f"tocsin.yaml:{line}")
    assert line.endswith(("'name: ",)) or problem == f"tocsin.yaml:{line}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("models: {}", ":1: models: is empty: write at least 1"),
        ("pane: 10s", ":1: models: is missing: add it (mapping of name to section)"),
        ("models: {credit: }", ":1: models.credit.task: is missing: add it ("),
        (
            "models: {a b: {task: binary}}",
            ":1: models.a b: 'a b' is no name for a model: use letters, digits, '_', '.' and '-'",
        ),
        ("pane: 10\n" + MINIMAL, ":1: pane: 10 has no unit: write 10s, 5m, 1h or 30d"),
        (
            "windows: [1h, 15s]\n" + MINIMAL,
            ":1: windows[1]: '15s' is not a multiple of pane",
        ),
        (
            "pane: 7s\n" + MINIMAL,
            ":1: pane: '7s' does not divide the default windows: write windows as well",
        ),
        ("windows: []\n" + MINIMAL, ":1: windows: is empty: write at least one window"),
        ("http: {port: 65536}\n" + MINIMAL, ":1: http.port: 65536 is too large: write 65535 or le"),
        ("alerts: {page: 1}\n" + MINIMAL, ":1: alerts.page: 1 is not a rate: write 1 per 30d"),
        ("http: 9108\n" + MINIMAL, ":1: http: '***' is not a section: write keys below it"),
        (
            "kafka: {sasl_mechanism: OAUTHBEARER}\n" + MINIMAL,
            ":1: kafka.sasl_mechanism: 'OAUTHBEARER' needs oauth beside it",
        ),
        (
            f"kafka: {{oauth: {OAUTH}}}\n" + MINIMAL,
            ":1: kafka.oauth: is for sasl_mechanism: OAUTHBEARER alone",
        ),
        (
            f"kafka: {{oauth: {OAUTH.replace('https', 'http')}}}\n" + MINIMAL,
            ":1: kafka.oauth.token_url: 'http://idp.example/token' is no address of a token "
            "endpoint: write https://host/path",
        ),
        (
            "http: {basic: {username: 'a:b', password: x}}\n" + MINIMAL,
            ":1: http.basic.username: 'a:b' is no user name: use no ':' in it",
        ),
        (
            "http: {bearer_token: ''}\n" + MINIMAL,
            ":1: http.bearer_token: '***' is no bearer token: "
            "use letters, digits and -._~+/, with = at its end alone",
        ),
        (
            "http: {basic: {username: a, password: ''}}\n" + MINIMAL,
            ":1: http.basic.password: '***' is empty",
        ),
        (
            "kafka: {security_protocol: SASL_SSL}\n" + MINIMAL,
            ":1: kafka.security_protocol: 'SASL_SSL' needs sasl_mechanism beside it",
        ),
        (
            "kafka: {sasl_plain_pasword: x}\n" + MINIMAL,
            ":1: kafka.sasl_plain_pasword: unknown key: did you mean sasl_plain_password?",
        ),
        (
            "kafka: {bootstrap_servers: 'http://a'}\n" + MINIMAL,
            ":1: kafka.bootstrap_servers: 'http://a' is not the address of a broker: "
            "write host:port",
        ),
        (
            "kafka: {events_topic: tocsin.state}\n" + MINIMAL,
            ":1: kafka.state_topic: is in use for another of Tocsin's topics: use another name",
        ),
        ("", ": is empty: write at least models and their tasks"),
        ("# nothing\n", ": is empty: write at least models and their tasks"),
        ("just words", ":1: is not a mapping of keys: start with 'models:'"),
        ("- a\n", ":1: is not a mapping of keys: start with 'models:'"),
        (MINIMAL + "---\na: 1\n", ":2: a second YAML document starts here: keep one a file"),
        ("a: [1\nb: 2", ":2: is not YAML: "),
        ("a: &a [*a]\n" + MINIMAL, ":1: a[0]: alias *a has no complete anchor before it"),
        ("[" * 99, ":1: is nested deeper than 40 levels"),
        (b"\xff\xfe\x00\x01", ": is not UTF-8 text: is it a configuration?"),
        (b"\x7fELF\x00\x01", ": is not YAML: "),
        (b"#" * 1_000_001, ": is larger than 1,000,000 bytes: is it a configuration?"),
    ],
)
def test_problem_of_the_file(file: Path, text: str | bytes, line: str) -> None:
    assert problems(file, text)[0].startswith(f"tocsin.yaml{line}")


def test_exactly_as_promised(file: Path) -> None:
    text = "# one\n" * 9 + "models:\n  credit:\n    task: binry\n"
    assert problems(file, text) == (
        "tocsin.yaml:12: models.credit.task: 'binry' is not one of binary, multiclass, regression",
    )


def test_every_problem_is_reported_in_the_order_of_lines(file: Path) -> None:
    text = "pane: 1\nlatenes: 1s\nmodels:\n  a: {task: x, task: y}\n  b: {profile: '${GONE}'}\n"
    assert problems(file, text) == (
        "tocsin.yaml:1: pane: 1 has no unit: write 10s, 5m, 1h or 30d",
        "tocsin.yaml:2: latenes: unknown key: did you mean lateness?",
        "tocsin.yaml:4: models.a.task: appears again (first on line 4): keep one",
        "tocsin.yaml:4: models.a.task: 'x' is not one of binary, multiclass, regression",
        "tocsin.yaml:5: models.b.profile: environment variable GONE is not set: set it",
        "tocsin.yaml:5: models.b.task: is missing: add it (one of binary, multiclass, regression)",
    )


def test_the_error_is_one_of_usage(file: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(file, "pane: 1\nlateness: 1\n")
    assert caught.value.exit_code == Exit.USAGE
    assert len(str(caught.value).splitlines()) == 3


def test_missing_folder_and_unreadable(file: Path, tmp_path: Path) -> None:
    def only(path: Path) -> str:
        with pytest.raises(ConfigError) as caught:
            load(path, {})
        (line,) = caught.value.problems
        return line

    gone = "does not exist: write it, or name another with --config"
    assert only(file) == f"tocsin.yaml: {gone}"
    assert only(tmp_path) == f"{tmp_path}: is a folder: name the file in it with --config"
    assert only(Path("a\0b")) == "a\\x00b: is no name that a file can have"
    file.write_text(MINIMAL)
    assert only(file / "below").startswith("tocsin.yaml/below: cannot be read: ")


def test_alias_bombs_end_early(file: Path) -> None:
    lines = ["a0: &a0 [1, 2]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 30)]
    (problem,) = problems(file, "\n".join(lines))
    assert "has more than 50,000 values with aliases expanded" in problem
    deep = "a0: &a0 " + "[" * 20 + "]" * 20 + "\na1: " + "[" * 30 + "*a0" + "]" * 30
    (problem,) = problems(file, deep)
    assert problem == "tocsin.yaml:2: is nested deeper than 40 levels"


def test_kafka_is_needed_by_run_only(file: Path) -> None:
    config = read(file, MINIMAL)
    with pytest.raises(ConfigError) as caught:
        config.require_kafka()
    assert caught.value.problems == (
        "tocsin.yaml: kafka.bootstrap_servers: is missing: write host:port of a broker",
    )


# Secrets


def test_references_are_filled_in(file: Path) -> None:
    Path("secret").write_text("from: file\n")
    text = (
        "kafka:\n  sasl_plain_password: ${PW}\n  ssl_password: ${file:secret}\n"
        "http: {port: '${PORT}', host: 'a$$b$c'}\n"
    )
    config = read(file, text + MINIMAL, {"PW": "a: [b", "PORT": "8080"})
    assert config.kafka.sasl_plain_password == SecretStr("a: [b")
    assert config.kafka.ssl_password == SecretStr("from: file")
    assert (config.http.port, config.http.host) == (8080, "a$b$c")


def test_what_is_filled_in_is_not_filled_in_again(file: Path) -> None:
    text = "kafka: &k {ssl_password: '${A}'}\n" + MINIMAL
    config = read(file, text, {"A": "${B}", "B": "no"})
    assert config.kafka.ssl_password == SecretStr("${B}")


KEYS = [
    "pane: ${S}",
    "windows: ${S}",
    "windows: ['${S}']",
    "alerts: {page: '${S}'}",
    "http: ${S}",
    "http: {port: 'x${S}'}",
    "kafka: {bootstrap_servers: '${S}'}",
    "kafka: {security_protocol: '${S}'}",
    "kafka: {ssl_check_hostname: '${S}'}",
    "kafka: {sasl_plain_pasword: '${S}'}",
    "kafka: {sasl_plain_password: '${S}', security_protocol: SASL_SSL}",
    "kafka: {group_id: ['${S}']}",
    "warmup: ${S}",
    "models: ${S}",
    "models: {a: '${S}'}",
    "models: {a: {task: '${S}'}}",
    "models: {a: {task: binary, threshold: '${S}'}}",
    "models: {a: {task: binary, segments: ['${S}', {b: '${S}'}]}}",
    "models: {a: {task: binary, criteria: [{metric: '${S}', by: '${S}'}, '${S}']}}",
    "models: {a: {task: binary, criteria: [{metric: m, min: 1, by: '${S}'}]}}",
    "models: {a: {task: binary, feedback: {memory: '${S}', topic: '${S}'}}}",
    "models: {a: {task: binary, river: [{detector: '${S}', params: '${S}'}]}}",
    "models: {a: {task: binary, fields: {id: '.${S}', scores: {b: '${S}..'}}}}",
    "x: ${S}${GONE}",
]


@pytest.mark.parametrize("text", KEYS)
def test_secrets_are_never_in_an_error(file: Path, text: str) -> None:
    secret = "correct horse"
    with pytest.raises(ConfigError) as caught:
        read(file, text + "\n", {"S": secret})
    shown = "".join(traceback.format_exception(caught.value))
    assert "correct" not in shown + repr(caught.value)
    assert all("\n" not in line for line in caught.value.problems)


def test_secrets_are_neither_in_repr_nor_in_the_hash(file: Path) -> None:
    one = read(file, EXAMPLES[1], {"KAFKA_PASSWORD": "hunter2"})
    other = read(file, EXAMPLES[1], {"KAFKA_PASSWORD": "correct horse"})
    assert one.hash == other.hash
    shown = f"{one!r} {one} {one.kafka!r} {one.kafka} {one.model_dump_json()}"
    assert "hunter2" not in shown


def test_a_secret_shown_as_stars(file: Path) -> None:
    assert problems(file, "pane: ${S}\n" + MINIMAL, {"S": "hunter2"}) == (
        "tocsin.yaml:1: pane: '***' is not a duration: "
        "write a number and its unit, as in 10s, 5m, 1h or 30d",
    )


def test_files_that_cannot_be_secrets(file: Path) -> None:
    Path("binary").write_bytes(b"\xff\xfe")
    Path("large").write_bytes(b"x" * 1_000_001)
    for name, said in (
        ("binary", "file 'binary' is not UTF-8 text"),
        ("large", "file 'large' is larger than 1,000,000 bytes"),
        (".", "file '.' is not a file that exists: mount or write it"),
        ("\\0", "file '\\x00' is not a file that exists: mount or write it"),
        ("/dev/zero", "file '/dev/zero' is not a file that exists: mount or write it"),
    ):
        text = f'kafka: {{ssl_password: "${{file:{name}}}"}}\n' + MINIMAL
        assert problems(file, text) == (f"tocsin.yaml:1: kafka.ssl_password: {said}",)


# The hash


def test_hash_is_of_what_is_in_effect(file: Path, tmp_path: Path) -> None:
    plain = read(file, MINIMAL)
    assert re.fullmatch("[0-9a-f]{12}", plain.hash)
    assert read(file, "pane: 10000ms\nhttp:\n" + MINIMAL).hash == plain.hash
    assert read(file, "pane: 20s\n" + MINIMAL).hash != plain.hash
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    here = read(file, model("profile: p"))
    assert read(elsewhere / "tocsin.yaml", model("profile: p")).hash == here.hash


# Values with a unit


@pytest.mark.parametrize(
    ("text", "milliseconds", "written"),
    [
        ("500ms", 500, "500ms"),
        ("10s", 10_000, "10s"),
        ("5m", 300_000, "5m"),
        ("90m", 5_400_000, "90m"),
        ("24h", 86_400_000, "1d"),
        ("30d", 2_592_000_000, "30d"),
        ("2w", 1_209_600_000, "14d"),
        ("0s", 0, "0s"),
    ],
)
def test_durations(text: str, milliseconds: int, written: str) -> None:
    assert parse_duration(text) == milliseconds
    assert format_duration(milliseconds) == written


@pytest.mark.parametrize(
    "value", [10, 1.5, True, None, "", "10", "s", "-1s", "1.5h", "1h30m", "٣s"]
)
def test_no_durations(value: object) -> None:
    with pytest.raises(ValueError):
        parse_duration(value)


@given(st.integers(0, 10**12))
def test_durations_and_sizes_round_trip(number: int) -> None:
    assert parse_duration(format_duration(number)) == number
    assert parse_size(format_size(number)) == number


@given(st.decimals(0, 10**6, places=6), st.integers(1, 10**9))
def test_rates_round_trip(count: Any, period: int) -> None:
    if count == 0:
        return
    rate = Rate.parse(f"{abs(count)} per {period}ms")
    assert Rate.parse(str(rate)) == rate
    assert rate.per_second == pytest.approx(float(count) / (period / 1000))


# Schema and manual


def test_schema_accepts_the_examples_and_refuses_the_rest() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for example in EXAMPLES:
        assert list(validator.iter_errors(as_data(example))) == []
    for text in (
        "models: {}",
        "models: {a b: {task: binary}}",
        "models: {a: {task: binry}}",
        "models: {a: {task: binary, treshold: 1}}",
        "pane: 10\n" + MINIMAL,
        "models: {a: {task: binary, detectors: {weights: {x: 0}}}}",
    ):
        assert not validator.is_valid(as_data(text)), text


def test_schema_says_what_everything_is() -> None:
    schema = json_schema()
    sections = [schema, *schema["$defs"].values()]
    assert json.dumps(schema).count('"x-') == 0
    for section in sections:
        assert section["additionalProperties"] is False
        for name, value in section["properties"].items():
            target = schema["$defs"].get(value.get("$ref", "").rpartition("/")[2], {})
            assert value.get("description") or target.get("description"), name
    assert schema["properties"]["pane"]["default"] == "10s"


def test_the_manual_is_up_to_date() -> None:
    between = re.search(r"begin -->\n(.*)<!-- generated.*end -->", MANUAL.read_text(), re.DOTALL)
    assert between is not None
    assert between[1] == documentation(), "run: python -m agent.config.schema docs/configuration.md"


def test_client_keys_are_those_of_kafka_python() -> None:
    kafka = pytest.importorskip("kafka")
    ours = {n for n in KafkaConfig.model_fields if n.startswith(("security_", "sasl_", "ssl_"))}
    theirs = {
        name
        for name in kafka.KafkaConsumer.DEFAULT_CONFIG
        if name.startswith(("security_", "sasl_", "ssl_"))
    }
    # These two take Python objects, which no file can hold.
    assert theirs - ours == {"ssl_context", "sasl_oauth_token_provider"}
    assert ours <= theirs


# Whatever is written, either it loads or it says why not

ANYWHERE = settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
WORDS = [*sorted(set(re.findall(r"[a-z_]+|[^\sa-z]+", EXAMPLES[1]))), "${A}", "${", "*a", "&a "]
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(WORDS)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)


def loads_or_says_why(file: Path, data: bytes) -> None:
    try:
        config = read(file, data, {"A": "\udcff", "B": "b"})
    except ConfigError as error:
        assert error.problems
        assert all(line.isprintable() for line in error.problems)
    else:
        assert config.hash


@ANYWHERE
@given(st.binary())
def test_any_bytes(file: Path, data: bytes) -> None:
    loads_or_says_why(file, data)


@ANYWHERE
@given(st.text() | st.lists(st.sampled_from([*WORDS, "\n", " ", "  "])).map("".join))
def test_any_text(file: Path, text: str) -> None:
    loads_or_says_why(file, text.encode("utf-8", "surrogatepass"))


@ANYWHERE
@given(TREES)
def test_any_tree(file: Path, tree: object) -> None:
    loads_or_says_why(file, json.dumps(tree).encode())


@ANYWHERE
@given(st.data())
def test_the_example_with_one_value_changed(file: Path, data: st.DataObject) -> None:
    tree: Any = as_data(EXAMPLES[1])
    place = tree
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(TREES)
    loads_or_says_why(file, json.dumps(tree).encode())
