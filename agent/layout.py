"""What the cells of a model's panes are, and how far its partitions have come."""

from collections.abc import Mapping
from dataclasses import dataclass

from agent.config import Config, ModelConfig
from agent.groups import Groups
from agent.intake.source import TopicPartition
from agent.intake.vocabulary import Vocabulary
from agent.panes import PartitionClock
from detectors.accuracy import Performance, performance_sketch
from detectors.fairness.groups import GroupCells
from detectors.pane import PaneCells
from detectors.profile import Profile


@dataclass(slots=True)
class Clocks:
    """The watermarks of the two topics of a partition."""

    predictions: PartitionClock
    feedback: PartitionClock

    @property
    def watermark(self) -> int:
        """Event time that both topics have passed."""
        return min(self.predictions.watermark, self.feedback.watermark)


def watermarks(clocks: Mapping[int, Clocks], topics: tuple[str, str]) -> dict[TopicPartition, int]:
    """Watermark of each partition of the topics of predictions and feedback."""
    return {
        (topic, number): clock.watermark
        for number, own in clocks.items()
        for topic, clock in zip(topics, (own.predictions, own.feedback), strict=True)
    }


class Layout:
    """What the cells of a model's panes are; the same for every partition and every agent."""

    def __init__(self, config: ModelConfig, settings: Config, profile: Profile) -> None:
        self.config, self.settings, self.profile = config, settings, profile
        self.pane = int(settings.pane)
        self.pane_cells = PaneCells(profile)
        self.groups = Groups(profile.schema, config.segments, Vocabulary())
        self.performance: Performance = performance_sketch(profile.schema, self.groups.count)
        self.by_group = GroupCells(profile.schema)  # its cells are shown after performance's
        self.first_version_cell = self.pane_cells.size
        self.detected_size = self.first_version_cell + Vocabulary().limit + 1
        self.shown_size = self.performance.size + self.by_group.size

    def renew(self, profile: Profile, cells: PaneCells) -> None:
        """Go on with another profile of the same cells."""
        self.profile, self.pane_cells = profile, cells
