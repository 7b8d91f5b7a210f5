"""Documents say what is there: commands, options, links, examples, reasons, dependencies."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import get_args

import click
import pytest

from agent import alarms
from agent.cli import tocsin
from agent.config import load
from agent.intake import columns, decode, records
from detectors.evidence import Kind
from detectors.registry import FAMILIES
from tests.rig.requirements import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md")])
NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]
# Named as not there yet. Once one is there, it is to be documented like the others.
PLANNED = {"rules", "dashboards", "report"}

every_page = pytest.mark.parametrize("page", PAGES, ids=NAMES)


def prose(page: Path) -> str:
    """The page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def blocks(page: Path, language: str) -> list[str]:
    """The content of code blocks in a language."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, page.read_text(), flags=re.MULTILINE | re.DOTALL)


def examples(page: Path) -> list[list[str]]:
    """The arguments of every `tocsin` command line in the page's shell blocks."""
    lines = [
        line
        for block in blocks(page, "(?:sh|console|bash)")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    commands = [shlex.split(line.removeprefix("$ "), comments=True) for line in lines]
    found = [words[1:] for words in commands if words[:1] == ["tocsin"]]
    return [words[: words.index(">")] if ">" in words else words for words in found]


def anchors(page: Path) -> set[str]:
    """What can stand after `#` in a link to the page, as GitHub makes it."""
    headings = re.findall(r"^#+ (.*)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize("name", tocsin.commands)
def test_every_command_and_option_is_documented(name: str) -> None:
    text = (DOCS / "commands.md").read_text()
    sections = re.split(r"^## ", text, flags=re.MULTILINE)
    section = next((s for s in sections if s.startswith(f"`tocsin {name}`")), "")
    assert section, f"docs/commands.md has no section of {name}"
    assert f"`tocsin {name}`" in (REPOSITORY / "README.md").read_text()
    options = [p for p in tocsin.commands[name].params if isinstance(p, click.Option)]
    for option in options:
        spelled = {o for o in option.opts if not option.hidden}
        where = sections[0] if option.name in ("config_path", "verbose") else section
        assert [o for o in spelled if f"`{o}" not in where] == []


def test_no_option_is_documented_that_is_not_there() -> None:
    known = {o for c in tocsin.commands.values() for p in c.params for o in p.opts}
    text = (DOCS / "commands.md").read_text()
    assert set(re.findall(r"`(--[\w-]+)", text)) - known == {"--help"}


@every_page
def test_example_commands_parse(page: Path) -> None:
    for words in examples(page):
        command = tocsin.commands[words[0]]
        command.make_context(words[0], list(words[1:]))


def test_there_are_example_commands() -> None:
    assert {words[0] for page in PAGES for words in examples(page)} == set(tocsin.commands)


@every_page
def test_commands_named_in_text_exist(page: Path) -> None:
    named = set(re.findall(r"`tocsin ([a-z]+)", prose(page)))
    assert named <= set(tocsin.commands) | PLANNED
    assert PLANNED.isdisjoint(tocsin.commands)


@every_page
def test_relative_links_resolve(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path) if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_is_reached_from_the_index() -> None:
    reached = {(DOCS / link).resolve() for link in re.findall(r"\]\(([^)#]+)", prose_of_index())}
    assert [p for p in DOCS.rglob("*.md") if p.resolve() not in reached] == [DOCS / "index.md"]


def prose_of_index() -> str:
    return prose(DOCS / "index.md")


def test_the_readme_configuration_is_valid(tmp_path: Path) -> None:
    (example,) = blocks(REPOSITORY / "README.md", "yaml")
    path = tmp_path / "tocsin.yaml"
    path.write_text(example)
    config = load(path, {})
    config.require_kafka()
    assert config.unused() == []


def test_every_kind_of_alarm_has_a_runbook_that_says_all() -> None:
    assert set(get_args(Kind)) == set(alarms.ACTIONS)
    for kind in get_args(Kind):
        text = (DOCS / "runbooks" / f"{kind}.md").read_text()
        headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
        assert headings == ["How bad is it", "Look first", "Mend", "When to accept"]
        assert f"`{kind}`" in prose_of_index()


def test_every_reason_to_refuse_a_record_is_documented() -> None:
    constants = [v for m in (columns, records, decode) for k, v in vars(m).items() if k.isupper()]
    reasons = {v for v in constants if isinstance(v, str)} | {"duplicate"}
    text = (DOCS / "payloads.md").read_text()
    assert len(reasons) > 12
    assert [reason for reason in sorted(reasons) if f"`{reason}`" not in text] == []


def test_every_detector_is_documented() -> None:
    text = (DOCS / "detectors.md").read_text()
    for family in FAMILIES:
        name = re.sub(r"(?<!^)([A-Z])", r"_\1", family.__name__).lower()  # type: ignore[attr-defined]
        assert f"| `{name}` |" in text


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = [r for needs in project["optional-dependencies"].values() for r in needs]
    text = (DOCS / "dependencies.md").read_text().lower()
    for requirement in project["dependencies"] + extras:
        name = re.split(r"[^\w-]", requirement)[0].lower()
        known = name in text or name in ("tocsin",) or name.startswith("types-")
        assert known, name


@every_page
def test_prose_lines_are_short(page: Path) -> None:
    # One sentence a line, or generated.
    if page.name in ("CHANGELOG.md", "metrics.md", "detection.md"):
        return
    long = [x for x in prose(page).splitlines() if len(x) > 110 and not x.startswith("|")]
    assert long == []
