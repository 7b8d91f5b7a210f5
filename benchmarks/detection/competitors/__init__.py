"""What Tocsin is compared with: each a rule from a series to its alarms, as it comes and tuned."""

from benchmarks.detection.competitors.elsewhere import installed, not_installed
from benchmarks.detection.competitors.kswin import kswin
from benchmarks.detection.competitors.of_alibi import ALIBI, KERNEL
from benchmarks.detection.competitors.of_frouros import FROUROS
from benchmarks.detection.competitors.of_river import RIVER, adwin, ddm, of_river, page_hinkley
from benchmarks.detection.competitors.windows import RULES, WINDOW, every, kolmogorov_smirnov, psi
from benchmarks.detection.field import Competitor, tuned

__all__ = [
    "COMPETITORS",
    "WINDOW",
    "absent",
    "adwin",
    "ddm",
    "every",
    "kolmogorov_smirnov",
    "kswin",
    "not_installed",
    "of_river",
    "page_hinkley",
    "psi",
    "tuned",
]

COMPETITORS: tuple[Competitor, ...] = (
    *RIVER,
    *(FROUROS if installed("frouros") else ()),
    *(ALIBI if installed("alibi-detect") else ()),
    *(KERNEL if installed("alibi-detect") and installed("torch") else ()),
    *RULES,
)


def absent() -> str:
    """A sentence on the libraries whose detectors are left out; empty where none are."""
    names = ", ".join(not_installed())
    return f"Not installed, so without their detectors: {names}." if names else ""
