"""Section `checkpoint`: when state is written down, and where."""

from pydantic import Field

from agent.config.types import FilePath, Section
from agent.config.units import PositiveDurationMs, parse_duration


class CheckpointConfig(Section):
    """How state outlives a restart."""

    interval: PositiveDurationMs = Field(
        default=parse_duration("10s"),
        description="Time between two checkpoints, at least; longer where writing one takes long.",
    )
    directory: FilePath | None = Field(
        default=None,
        description="Directory to keep them in; none: `kafka.state_topic`. For one agent alone.",
    )
