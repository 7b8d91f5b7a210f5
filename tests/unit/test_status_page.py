"""The status page and its JSON: verdicts that do not lie, and nothing that escapes its place."""

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from agent.publish import page
from agent.publish.page import status_page
from agent.publish.snapshot import ModelStatus, Records, Snapshot
from agent.publish.status import STALE_AFTER, judge, rfc3339, status_json
from tests import samples

HOSTILE = '</style><script>alert("1")</script><img src=x onerror=alert(1)>\n\'"&\u202e\ud83dé'
VOID = {"meta", "link", "rect", "path", "circle", "polygon", "polyline"}


class Page(HTMLParser):
    """A page taken apart; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def quiet(**changes: object) -> ModelStatus:
    evidence = {key: min(ratio, 0.4) for key, ratio in samples.credit().evidence.items()}
    model = replace(samples.credit(), alarms=(), evidence=evidence)
    return replace(model, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("model", "verdict", "summary"),
    [
        (samples.credit(), "ringing", "drift of income (ticket)"),
        (
            replace(samples.credit(), blind={("no_feedback",): 1.0}),
            "ringing",
            "drift of income (ticket); no labels arrive, so accuracy cannot be seen",
        ),
        (quiet(), "quiet", "nearest to an alarm is income, at 40% of its threshold"),
        (quiet(blind={("no_traffic",): 1.0}), "blind", "few or no predictions arrive"),
        (quiet(blind={("brand_new",): 1.0}), "blind", "brand_new"),
        (quiet(panes=0), "blind", "nothing has been judged yet"),
        (quiet(is_judged=False), "elsewhere", "another agent of the group judges this model"),
        (quiet(first_time=None), "blind", "nothing has been judged yet"),
        (quiet(evidence={}), "blind", "no detector has anything to judge yet"),
        (
            quiet(evidence={("drift", "income", "ticket"): math.nan}),
            "blind",
            "no detector has anything to judge yet",
        ),
        (
            samples.churn(),
            "learning",
            "the profile is being learned from traffic; too few records to judge by",
        ),
        (
            replace(samples.churn(), blind={("learning",): 1.0, ("no_traffic",): 1.0}),
            "blind",
            "the profile is being learned from traffic; few or no predictions arrive",
        ),
        (replace(samples.churn(), first_time=None), "blind", "nothing has been judged yet"),
    ],
)
def test_verdicts(model: ModelStatus, verdict: str, summary: str) -> None:
    assert judge(model) == (verdict, summary)


@pytest.mark.parametrize(
    ("snapshot", "now"),
    [
        (replace(samples.snapshot(quiet()), ready=False, ready_reason="restoring"), samples.NOW),
        (samples.snapshot(quiet()), samples.NOW + STALE_AFTER + 1),
    ],
)
def test_never_green_when_the_agent_cannot_see(snapshot: Snapshot, now: float) -> None:
    status = status_json(snapshot, now)
    assert not status["ready"]
    assert status["models"]["credit"]["verdict"] == "blind"
    html = status_page(snapshot, now)
    assert "credit is blind" in Page(html).text
    assert 'class="quiet"' not in html


def test_json_is_plain_and_complete() -> None:
    status = json.loads(json.dumps(status_json(samples.snapshot()), allow_nan=False))
    credit = status["models"]["credit"]
    assert status["taken_at"] == "2026-03-01T02:46:10.000Z"
    assert status["budgets"] == {"page": "1 per 365d", "ticket": "1 per 30d"}
    assert {"topic": "churn.predictions", "partition": 0, "records": None} in status["lag"]
    assert credit["records"]["predictions"] == {"3": 11_284_003, "4": 598_112}
    assert credit["drift"]["income"]["psi"]["5m"] == 0.342
    assert credit["evidence"][0] == {
        "detector": "drift", "target": "income", "severity": "ticket", "ratio": 1
    }  # fmt: skip
    assert credit["alarms"][0]["effect"] == {"measure": "psi", "value": 0.342, "reference": 0.011}
    assert credit["alarms"][0]["raised_at"] == "2026-03-01T02:32:10.000Z"
    unknown = [p for p in credit["performance"] if (p["version"], p["metric"]) == ("4", "roc_auc")]
    assert unknown[0]["windows"]["5m"] is None
    median = 0.025 + (0.05 - 0.025) * (10_330 / 2 - 4_400) / 5_020  # within its bucket
    assert credit["latency_seconds"]["3"]["p50"] == pytest.approx(median)


def test_keys_of_the_json_are_documented() -> None:
    from agent.publish import status

    documented = set(re.findall(r"\w+", status.__doc__ or ""))
    whole = status_json(samples.snapshot())
    credit = whole["models"]["credit"]
    for part in (whole, credit, credit["records"], credit["alarms"][0], credit["traffic"]):
        assert set(part) <= documented


@pytest.mark.parametrize(
    ("time", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (10**18, "9999-12-31T23:59:59.999Z"),
        (-(10**18), "0001-01-01T00:00:00.000Z"),
        (None, None),
    ],
)
def test_times_beyond_rfc_3339_are_shown_as_its_ends(time: float | None, text: str | None) -> None:
    assert rfc3339(time) == text


def test_the_page_answers_what_is_asked_at_three_in_the_morning() -> None:
    html = status_page(samples.snapshot(), samples.NOW)
    text = Page(html).text
    for part in (
        "credit is ringing",
        "Drift of income",
        "ticket",
        "raised 14 min ago",
        "1 Mar 2026, 02:32:10 UTC",
        "began about 31 min ago",
        "PSI 0.342 against 0.011",
        "debt_ratio 17 %",
        "Ask the owner of the income feed",
        "churn learning",
        "18 more, none nearer to an alarm",
        "1 per 365d",
    ):
        assert part in text, part
    assert 'href="https://runbooks.example/tocsin/drift"' in html


def test_the_page_loads_nothing_and_keeps_to_its_policy() -> None:
    html = status_page(samples.snapshot())
    document = Page(html)
    for tag, attributes in document.tags:
        assert tag not in ("img", "iframe", "object", "form", "base")
        assert not any(name.startswith("on") or name in ("style", "src") for name in attributes)
        if tag == "link":
            assert str(attributes["href"]).startswith("data:image/svg+xml,")
    for tag, policy in (("style", "style-src"), ("script", "script-src")):
        found = re.findall(f"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert len(found) == 1
        assert f"{policy} 'sha256-{page._hash(found[0])}'" in page.CONTENT_SECURITY_POLICY
    assert "url(" not in html and "@import" not in html


def test_tables_and_pictures_can_be_heard() -> None:
    document = Page(status_page(samples.snapshot()))
    assert all("scope" in attributes for tag, attributes in document.tags if tag == "th")
    pictures = [attributes for tag, attributes in document.tags if tag == "svg"]
    assert all("aria-hidden" in p or ("role" in p and "aria-label" in p) for p in pictures)
    ids = [attributes["id"] for _, attributes in document.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert ("html", {"lang": "en"}) in document.tags


def test_hostile_names_stay_text() -> None:
    hostile = samples.alarm(
        model=HOSTILE, version=HOSTILE, kind=HOSTILE, detector=HOSTILE, target=HOSTILE,
        recommended_action=HOSTILE, runbook="javascript:alert(1)", id=HOSTILE, profile=HOSTILE,
        budget=HOSTILE,
    )  # fmt: skip
    credit = samples.credit()
    model = replace(
        credit,
        model=HOSTILE,
        alarms=(hostile,),
        cleared=(hostile,),
        records=Records(predictions={(HOSTILE,): 1.0}, rejected={(HOSTILE, HOSTILE): 1.0}),
        recent_rejected=tuple(
            replace(r, topic=HOSTILE, reason=HOSTILE, excerpt=HOSTILE)
            for r in credit.recent_rejected
        ),
        missing={(HOSTILE, HOSTILE): 0.5},
        drift={(HOSTILE, "psi", HOSTILE): 0.5, (HOSTILE, "ks", HOSTILE): 0.5},
        evidence={(HOSTILE, HOSTILE, "page"): 1.0},
        performance={(HOSTILE, HOSTILE, HOSTILE, HOSTILE): 1.0},
        blind={(HOSTILE,): 1.0},
    )
    plain = Page(status_page(samples.snapshot(credit)))
    html = status_page(replace(samples.snapshot(model), lag={(HOSTILE, 0): 1}))
    document = Page(html)
    assert [t for t, _ in document.tags].count("script") == 1
    assert not any(tag == "img" for tag, _ in document.tags)
    assert {tag for tag, _ in document.tags} <= {tag for tag, _ in plain.tags} | {"code"}
    assert not any("javascript" in str(a.get("href")) for _, a in document.tags)
    assert "\u202e" not in html and "\\u202e" in html
    html.encode()
    status = json.loads(json.dumps(status_json(samples.snapshot(model))))
    assert status["models"][HOSTILE]["alarms"][0]["target"] == HOSTILE


@pytest.mark.parametrize(
    ("url", "link"),
    [
        ("https://runbooks.example/drift", True),
        ("http://runbooks.example", True),
        ("docs/runbooks/drift.md", False),
        ("javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("data:text/html,x", False),
        ("//evil.example", False),
        ("http:///x", False),
        ("http://[bad", False),
        ("", False),
    ],
)
def test_only_web_addresses_become_links(url: str, link: bool) -> None:
    assert page.is_link(url) is link


def test_a_page_for_a_hundred_models_puts_the_worst_first_and_folds_the_rest() -> None:
    crowd = [quiet(model=f"model-{i}") for i in range(98)]
    paging = replace(
        samples.credit(), model="paging", alarms=(samples.alarm(severity="page", model="paging"),)
    )
    html = status_page(samples.snapshot(*crowd, samples.credit(), paging))
    document = Page(html)
    assert "2 of 100 models are ringing" in document.text
    assert document.text.index("paging ringing") < document.text.index("credit ringing")
    models = [a for tag, a in document.tags if tag == "details" and "model" in str(a.get("class"))]
    assert sum("open" in attributes for attributes in models) == 2


def test_a_page_of_nothing_renders() -> None:
    empty = replace(samples.snapshot(), models={}, lag={}, page_budget="", ticket_budget="")
    assert "No model is watched" in Page(status_page(empty)).text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),  # noqa: RUF001
        (11_284_003, "11\u202f284\u202f003"),
        (0.0, "0"),
        (0.342, "0.342"),
        (12.345, "12.35"),
        (0.00004, "4.0e-05"),
        (1234.5, "1234"),
    ],
)
def test_numbers(value: float | None, text: str) -> None:
    assert page._number(value) == text
