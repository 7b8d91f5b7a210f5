"""Section `alerts`: the alert budget."""

from pydantic import Field

from agent.config.types import Section
from agent.config.units import AlarmRate, Rate


class AlertsConfig(Section):
    """False alarms tolerated, over all models and detectors of this file."""

    page: AlarmRate = Field(default=Rate.parse("1 per 365d"), description="False pages tolerated.")
    ticket: AlarmRate = Field(
        default=Rate.parse("1 per 30d"), description="False tickets tolerated."
    )
