"""Snapshots made by hand: `credit` rings on drift of `income`, `churn` is still learning."""

import math
from dataclasses import replace

from agent.publish.snapshot import (
    Alarm,
    CheckpointStatus,
    Contributor,
    Effect,
    Histogram,
    ModelStatus,
    Records,
    Rejected,
    Snapshot,
)

NOW = 1_772_333_170.0  # 2026-03-01 02:46:10 UTC
MINUTE = 60_000
WINDOWS = ("5m", "1h", "1d")
FEATURES = (
    "income", "debt_ratio", "utilisation", "age", "tenure_months", "region", "employment",
    "open_accounts", "inquiries_6m", "delinquencies_2y", "loan_amount", "loan_purpose",
    "home_ownership", "savings_balance", "monthly_payment", "device", "channel", "dependents",
    "education", "credit_history_years", "bankruptcies", "revolving_balance",
)  # fmt: skip

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, math.inf)
DELAY = (3600.0, 21_600.0, 86_400.0, 604_800.0, 2_592_000.0, math.inf)


def ago(minutes: float) -> int:
    """Milliseconds since the epoch, so many minutes before NOW."""
    return round(NOW * 1000 - minutes * MINUTE)


def histogram(bounds: tuple[float, ...], counts: tuple[int, ...], total: float) -> Histogram:
    """A histogram from counts that are not cumulative."""
    return Histogram(bounds, tuple(sum(counts[: i + 1]) for i in range(len(counts))), total)


def alarm(**changes: object) -> Alarm:
    """The alarm on `income`, with changes."""
    income = Alarm(
        id="0f3c9b1e6a7d4c52",
        model="credit",
        version="3",
        kind="drift",
        detector="numeric_drift",
        target="income",
        severity="ticket",
        raised_at=ago(14),
        onset=ago(31),
        onset_earliest=ago(36),
        onset_latest=ago(27),
        effect=Effect("psi", 0.342, 0.011),
        evidence=11.7,
        budget="1 per 30d",
        contributors=(
            Contributor("income", 0.71),
            Contributor("debt_ratio", 0.17),
            Contributor("utilisation", 0.06),
        ),
        profile="9d2f61c04b7a",
        recommended_action="Ask the owner of the income feed whether its unit or source changed "
        "about 02:15 UTC. If the change is meant, retrain or accept the new normal; "
        "if not, roll the feed back.",
        runbook="https://runbooks.example/tocsin/drift",
    )
    return replace(income, **changes)  # type: ignore[arg-type]


def credit() -> ModelStatus:
    """A model with everything: an alarm, labels, segments, two versions, refused records."""
    shift = {"income": 0.342, "debt_ratio": 0.121, "utilisation": 0.048, "region": 0.031}
    drift = {}
    for i, target in enumerate((*FEATURES, "score", "prediction")):
        psi = shift.get(target, 0.004 + 0.001 * (i % 7))
        for j, window in enumerate(WINDOWS):
            now = psi if j == 0 else 0.008 + (psi - 0.008) * (0.45, 0.04)[j - 1]
            drift[target, "psi", window] = round(now, 4)
            drift[target, "js", window] = round(now / 8, 5)
            drift[target, "ks", window] = round(math.sqrt(now) / 3, 4)
            if target not in ("region", "employment", "device", "channel"):
                drift[target, "wasserstein", window] = round(math.sqrt(now) * 1.1, 4)
    evidence = {}
    for i, target in enumerate((*FEATURES, "score", "prediction")):
        ratio = {"debt_ratio": 0.62, "utilisation": 0.21, "score": 0.34}.get(target)
        evidence["drift", target, "ticket"] = ratio or 0.003 * (i % 9)
    evidence["drift", "income", "ticket"] = 1.0
    evidence["error", "error", "page"] = 0.12
    evidence["silence", "traffic", "page"] = 0.0
    missing = {(f, w): 0.0 for f in FEATURES for w in WINDOWS}
    missing |= {("income", w): r for w, r in zip(WINDOWS, (0.021, 0.009, 0.004), strict=True)}
    invalid = {(f, w): 0.0 for f in FEATURES for w in WINDOWS} | {("age", "5m"): 0.0008}
    unseen = {(f, w): 0.0 for f in ("region", "employment", "device") for w in WINDOWS}
    unseen |= {("device", "5m"): 0.013, ("device", "1h"): 0.006, ("device", "1d"): 0.0003}
    performance = {}
    for version, offset in (("3", 0.0), ("4", 0.012)):
        for metric, value in (
            ("roc_auc", 0.871), ("recall", 0.742), ("precision", 0.688),
            ("log_loss", 0.361), ("expected_calibration_error", 0.018),
        ):  # fmt: skip
            for j, window in enumerate(WINDOWS):
                performance[version, metric, "all", window] = value + offset - 0.004 * (2 - j)
    for region, gap in (("north", 0.01), ("south", -0.046)):
        performance["3", "recall", f"region={region}", "1d"] = 0.742 + gap
    performance["4", "roc_auc", "all", "5m"] = math.nan  # too few labels
    records = Records(
        predictions={("3",): 11_284_003.0, ("4",): 598_112.0},
        feedback={
            ("joined",): 7_314_220.0, ("orphan",): 1_204.0, ("duplicate",): 88.0,
            ("corrected",): 5_101.0, ("withdrawn",): 12.0, ("expired",): 40_118.0,
        },
        rejected={
            ("credit.predictions", "not_json"): 31.0, ("credit.predictions", "no_id"): 4.0,
            ("credit.feedback", "bad_label"): 12.0,
        },
        forgotten=0.0,
        late={("credit.predictions",): 412.0, ("credit.feedback",): 7.0},
        label_delay=histogram(DELAY, (812, 5_630, 24_019, 61_002, 8_110, 0), 2.61e10),
        latency={
            "3": histogram(LATENCY, (10, 180, 4_210, 5_020, 801, 96, 11, 2, 0), 391.4),
            "4": histogram(LATENCY, (0, 4, 211, 520, 180, 40, 2, 0, 1), 63.2),
        },
    )  # fmt: skip
    return ModelStatus(
        model="credit",
        task="binary",
        profile="9d2f61c04b7a",
        learned=False,
        first_time=ago(12_960),
        last_time=ago(0.02),
        watermark=ago(0.2),
        panes=77_758,
        records=records,
        told=records,
        label_coverage=0.648,
        missing=missing,
        invalid=invalid,
        unseen=unseen,
        drift=drift,
        evidence=evidence,
        performance=performance,
        fairness={
            ("sex", group, measure, window): value
            for window in WINDOWS
            for group, measure, value in (
                ("f", "statistical_parity_difference", -0.041),
                ("f", "disparate_impact", 0.874),
                ("f", "equal_opportunity_difference", -0.018),
                ("m", "disparate_impact", 1.144),
            )
        },
        detectable_shift={("income",): 0.15, ("debt_ratio",): 0.25, ("score",): 0.1},
        blind={(r,): 0.0 for r in ("no_traffic", "no_feedback", "lagging", "too_few")},
        alarms=(alarm(),),
        cleared=(
            alarm(id="77ab", kind="quality", detector="missing", target="device",
                  effect=Effect("missing_ratio", 0.08, 0.001), raised_at=ago(2_950),
                  onset=ago(2_958), cleared_at=ago(2_800)),
        ),
        alarms_total={("drift", "ticket"): 1.0, ("quality", "ticket"): 1.0},
        recent_rejected=(
            Rejected("credit.predictions", 2, 3_944_871, "not_json", '{"id": "a-81", "featur'),
            Rejected("credit.feedback", 0, 2_120_007, "bad_label", '{"id": "b-7", "label": "yes"}'),
        ),
        pane_seconds=histogram((0.001, 0.01, 0.1, math.inf), (2, 70_310, 7_446, 0), 522.8),
        traffic=tuple(
            round(13_500 + 2_600 * math.sin(i / 9) + 900 * math.sin(i * 2.3)) for i in range(90)
        ),
        traffic_bucket=MINUTE,
    )  # fmt: skip


def churn() -> ModelStatus:
    """A model without a profile, twenty minutes old."""
    records = Records(predictions={("",): 4_120.0}, feedback={("joined",): 0.0, ("orphan",): 3.0})
    return ModelStatus(
        model="churn",
        task="multiclass",
        profile="",
        learned=False,
        first_time=ago(20),
        last_time=ago(0.1),
        watermark=ago(0.3),
        panes=118,
        records=records,
        told=records,
        blind={("learning",): 1.0, ("too_few",): 1.0, ("no_traffic",): 0.0},
        traffic=(0.0, 0.0, 190.0, 205.0, 201.0, 215.0, 188.0, 207.0, 212.0, 196.0),
        traffic_bucket=MINUTE,
    )


def snapshot(*models: ModelStatus) -> Snapshot:
    """A snapshot of these models, of `credit` and `churn` where none are given."""
    return Snapshot(
        taken_at=NOW,
        started_at=NOW - 777_600,
        ready=True,
        ready_reason="",
        models={model.model: model for model in models or (credit(), churn())},
        lag={
            ("credit.predictions", 0): 41,
            ("credit.predictions", 1): 18,
            ("credit.feedback", 0): 0,
            ("churn.predictions", 0): -1,
        },
        dead_letters={"sent": 46, "refused": 1, "dropped": 0},
        events={"sent": 11, "refused": 0, "dropped": 0, "waiting": 2},
        panes_refused=4,
        checkpoints=CheckpointStatus(
            saved_at={"credit": NOW - 7, "churn": NOW - 7},
            failures=2,
            size=1_234_567,
            restores={"restored": 5, "none": 1, "damaged": 1, "refused": 0},
            missed={"credit.predictions": 3},
        ),
        page_budget="1 per 365d",
        ticket_budget="1 per 30d",
    )
