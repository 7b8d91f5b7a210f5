"""Every metric and every label, in the order in which they are shown."""

from collections.abc import Mapping

from agent.publish.metrics import health, judgement, records
from agent.publish.metrics.metric import Metric

METRICS: tuple[Metric, ...] = (*records.METRICS, *judgement.METRICS, *health.METRICS)

LABELS: Mapping[str, str] = {
    "model": "a model's name in the configuration",
    "version": "a model's version as its records say, capped (the rest is `other`); "
    "of `tocsin_build_info`, Tocsin's version",
    "outcome": "of `tocsin_feedback_total`, `joined`, `orphan`, `duplicate`, `corrected`, "
    "`withdrawn` or `expired`; of `tocsin_checkpoint_restores_total`, `restored`, `none` (there is "
    "none), `damaged` (an older one serves, if there is one) or `refused` (made for another "
    "profile, configuration or version); of `tocsin_events_total` and `tocsin_dead_letters_total`, "
    "`sent`, `refused` (too large for the topic) or `dropped` (gave way to newer ones while the "
    "topic took none)",
    "topic": "a topic of the configuration",
    "partition": "a partition's number",
    "reason": "of `tocsin_rejected_total`, why the record was refused; of `tocsin_blind`, "
    "`no_traffic`, `no_feedback`, `lagging`, `too_few`, `undecodable`, `stale_reference` "
    "or `learning`",
    "feature": "a feature of the profile",
    "window": "a window of the configuration, as written there (`5m`, `1h`, `1d`)",
    "target": "what is watched: a feature, `score`, `prediction`, `joint`, or another part",
    "measure": "of `tocsin_drift`, `psi`, `js`, `ks` or `wasserstein`; of `tocsin_fairness`, "
    "`statistical_parity_difference`, `disparate_impact`, `equal_opportunity_difference`, "
    "`equalized_odds_difference` or `predictive_parity_difference`",
    "attribute": "a protected attribute of the configuration",
    "group": "a category of the attribute that the profile knows",
    "detector": "a detector's name",
    "severity": "`page` or `ticket`",
    "kind": "an alarm's kind, such as `drift`",
    "metric": "a performance metric, named as scikit-learn names it",
    "segment": "`all`, or a segment of the configuration such as `region=north`",
    "python": "Python's version",
}
