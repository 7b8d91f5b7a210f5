"""The status page: the object of `status.py` as one self-contained HTML document.

It loads nothing, needs no script to be read, and escapes all it shows. The script that refreshes it
is allowed by its hash; without scripts the browser reloads.
"""

import base64
import hashlib
import math
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any
from unicodedata import category
from urllib.parse import urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from agent.publish.snapshot import Snapshot
from agent.publish.status import BLINDNESS, Json, status_json

_TEMPLATES = Path(__file__).parent / "templates"
_STYLE = (_TEMPLATES / "status.css").read_text(encoding="utf-8")
_SCRIPT = (_TEMPLATES / "status.js").read_text(encoding="utf-8")

URGENCY = ("ringing", "blind", "learning", "quiet", "elsewhere")
SHOWN_ROWS = 8  # of a long table; the rest is folded away
UNKNOWN = "\N{EN DASH}"


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src 'sha256-{_hash(_STYLE)}'; script-src 'sha256-{_hash(_SCRIPT)}';"
    " connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)


def status_page(snapshot: Snapshot, now: float | None = None, writable: bool = False) -> str:
    """The page as HTML; `now` in seconds since the epoch (default: when the snapshot was taken).

    `writable`: whoever asked for it may acknowledge alarms, and gets a button for that.
    """
    status = status_json(snapshot, now)
    models = [
        {"name": name, "key": f"model-{i}", **model, "view": _view(model)}
        for i, (name, model) in enumerate(status["models"].items())
    ]
    models.sort(key=_urgency)
    alarms = [alarm for model in models for alarm in model["alarms"]]
    alarms.sort(key=lambda alarm: alarm["severity"] != "page")  # stable: newest first within each
    return _ENVIRONMENT.get_template("status.html").render(
        status=status,
        models=models,
        alarms=alarms,
        verdict=models[0]["verdict"] if models else "blind",
        headline=headline(models),
        now=_parse(status["taken_at"]) + timedelta(seconds=status["age_seconds"]),
        shown=SHOWN_ROWS,
        writable=writable,
        style=Markup(_STYLE),
        script=Markup(_SCRIPT),
    )


def _urgency(model: Json) -> tuple[int, bool]:
    return URGENCY.index(model["verdict"]), all(a["severity"] != "page" for a in model["alarms"])


def headline(models: list[Json]) -> str:
    """The page in one sentence."""
    if not models:
        return "No model is watched"
    worst = models[0]["verdict"]
    names = [model["name"] for model in models if model["verdict"] == worst]
    if worst == "quiet":
        return "All quiet" if len(names) > 1 else f"{names[0]} is quiet"
    if worst == "elsewhere":
        return "Other agents of the group judge"
    if len(names) == 1:
        return f"{names[0]} is {worst}"
    return f"{len(names)} of {len(models)} models are {worst}"


def _view(model: Json) -> Json:
    """A model's numbers as rows of tables."""
    drift, windows = model["drift"], _windows(model)
    strongest: dict[str, Json] = {}
    for entry in model["evidence"]:  # nearest to its threshold first
        strongest.setdefault(entry["target"], entry)
    targets = [
        {
            "target": target,
            "evidence": strongest.get(target, {"ratio": None, "detector": "", "severity": ""}),
            "psi": drift.get(target, {}).get("psi", {}),
            "measures": drift.get(target, {}),
        }
        for target in dict.fromkeys([*strongest, *drift])
    ]
    targets.sort(key=lambda row: (-(row["evidence"]["ratio"] or 0.0), -_largest(row["psi"])))
    kinds = ("missing", "invalid", "unseen")
    quality = [
        {"feature": feature, **{kind: model[kind].get(feature, {}) for kind in kinds}}
        for feature in dict.fromkeys(name for kind in kinds for name in model[kind])
    ]
    faulty = [row for row in quality if any(_largest(row[kind]) for kind in kinds)]
    faulty.sort(key=lambda row: -max(_largest(row[kind]) for kind in kinds))
    performance = sorted(
        model["performance"],
        key=lambda row: (row["segment"] != "all", row["version"], row["segment"]),
    )
    return {
        "windows": windows,
        "targets": targets,
        "measures": [
            name for name in ("js", "ks", "wasserstein") if any(name in m for m in drift.values())
        ],
        "latency": [
            {"version": version, **times}
            for version, times in model["latency_seconds"].items()
            if times
        ],
        "faulty": faulty,
        "sound": len(quality) - len(faulty),
        "performance": [
            {"version": version, "segment": segment, "rows": list(rows)}
            for (version, segment), rows in groupby(
                performance, key=lambda row: (row["version"], row["segment"])
            )
        ],
        "spark": _spark(model["traffic"]["counts"]),
    }


def _windows(model: Json) -> list[str]:
    """The windows that occur, shortest first."""
    found = {
        window
        for kind in ("missing", "invalid", "unseen")
        for values in model[kind].values()
        for window in values
    }
    found.update(
        window
        for measures in model["drift"].values()
        for values in measures.values()
        for window in values
    )
    found.update(window for row in model["performance"] for window in row["windows"])
    return sorted(found, key=lambda window: (_length(window), window))


def _length(window: str) -> float:
    unit = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}.get(window[-1:])
    return int(window[:-1]) * unit if unit and window[:-1].isdecimal() else math.inf


def _largest(values: Json) -> float:
    return max((value for value in values.values() if value is not None), default=0.0)


def _spark(counts: list[float | None]) -> Json | None:
    """Points of a line in a box 100 wide and 100 high; None where there is no line to draw."""
    known = [count or 0.0 for count in counts]
    if len(known) < 2:
        return None
    top = max(*known, 1.0)
    line = " ".join(
        f"{100 * i / (len(known) - 1):.2f},{100 - 96 * max(0.0, count) / top:.2f}"
        for i, count in enumerate(known)
    )
    return {"line": line, "area": f"0,100 {line} 100,100", "last": known[-1], "peak": max(known)}


def _parse(time: str) -> datetime:
    return datetime.fromisoformat(time)


def _utc(time: str | None, form: str = "%-d %b %Y, %H:%M:%S UTC") -> str:
    return _parse(time).strftime(form) if time else UNKNOWN


def _ago(time: str | None, now: datetime) -> str:
    if not time:
        return UNKNOWN
    seconds = (now - _parse(time)).total_seconds()
    return f"{_duration(seconds)} ago" if seconds >= 1 else "now"


def _duration(seconds: float | None) -> str:
    """A length of time in its two largest units at most."""
    if seconds is None:
        return UNKNOWN
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.3g} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    days, rest = divmod(minutes, 1440)
    hours = rest // 60
    if not days:
        return f"{hours} h {rest % 60} min"
    return f"{days} d {hours} h" if days < 10 else f"{days} d"


def _number(value: float | None) -> str:
    """A number to be read: whole ones in groups of three, small ones to a thousandth."""
    if value is None:
        return UNKNOWN
    size = abs(value)
    if float(value).is_integer() and size < 1e15:
        return f"{value:,.0f}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    if size >= 1e6 or size < 5e-4:
        return f"{value:.1e}"
    return f"{value:.{3 if size < 1 else 2 if size < 100 else 0}f}"


def _measure(name: str) -> str:
    """A measure's name as people write it."""
    written = {"psi": "PSI", "js": "JS", "ks": "KS", "wasserstein": "Wasserstein"}
    return written.get(name, name.replace("_", " "))


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.0f} %"


def _percent(value: float | None) -> str:
    if value is None:
        return UNKNOWN
    percent = 100 * value
    if percent == 0:
        return "0 %"
    return "<0.01 %" if 0 < percent < 0.01 else f"{percent:.{2 if percent < 1 else 1}f} %"


def _width(share: float | None) -> str:
    """The width of a bar, out of 100."""
    return f"{100 * min(max(share or 0.0, 0.0), 1.0):.1f}"


def _odds(evidence: float | None) -> str:
    """Evidence as odds against chance, from its natural logarithm."""
    if evidence is None:
        return UNKNOWN
    ten = evidence / math.log(10)
    return f"{math.exp(evidence):,.0f} to 1" if ten < 6 else f"10^{ten:.0f} to 1"


def is_link(url: str) -> bool:
    """Whether a runbook may become a link: http and https only, never javascript and its like."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def _visible(value: object) -> object:
    """Show by number what would steer the text: control and direction marks, lone surrogates."""
    if not isinstance(value, str) or isinstance(value, Markup) or value.isprintable():
        return value
    return "".join(
        c.encode("unicode_escape").decode()
        if c not in "\n\t" and category(c) in ("Cc", "Cf", "Cs")
        else c
        for c in value
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Any] = {
        "utc": _utc,
        "ago": _ago,
        "duration": _duration,
        "number": _number,
        "measure": _measure,
        "percent": _percent,
        "share": _share,
        "width": _width,
        "odds": _odds,
    }
    environment.filters.update(filters)
    environment.tests["link"] = is_link
    environment.globals["blindness"] = BLINDNESS
    return environment


_ENVIRONMENT = _environment()
