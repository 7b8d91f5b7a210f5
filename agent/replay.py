"""The pipeline over recorded files, as fast as the machine allows."""

from collections.abc import Callable
from pathlib import Path

from agent.config import Config
from agent.intake.files import FileSource
from agent.model import Recorder
from agent.pipeline import Pipeline
from agent.publish.snapshot import Alarm

LATEST = 7_258_118_400_000  # the year 2200: a recording's own times are taken as they are


def replay(
    config: Config,
    name: str,
    predictions: Path,
    feedback: Path | None,
    *,
    label_delay: int = 0,
    partitions: int = 1,
    batch_rows: int = 50_000,
    progress: Callable[[float], None] | None = None,
    on_alarm: Callable[[Alarm], None] = lambda alarm: None,
    recorder: Recorder | None = None,
) -> Pipeline:
    """Play recorded predictions and feedback of one model through the pipeline.

    The other models of the configuration keep their share of the alert budget, so that a replay
    rings when the agent would. The same files give the same result however they are split into
    batches and partitions, as long as their disorder stays within the allowed lateness.
    """
    pipeline = Pipeline(config, only=name, recorder=recorder)
    model = config.models[name]
    source = FileSource(
        predictions,
        feedback,
        model.fields,
        prediction_topic=model.predictions.topic,
        feedback_topic=model.feedback.topic,
        label_delay_ms=label_delay,
        partitions=partitions,
        batch_rows=batch_rows,
        progress=progress,
    )
    pipeline.assign(source.assignment())
    while batches := source.poll(0.0):
        for batch in batches:
            pipeline.take(batch, LATEST, 0.0)
        pipeline.ended(at for at, behind in source.lag().items() if behind == 0)
        for alarm in pipeline.close():
            on_alarm(alarm)
    pipeline.ended(source.assignment())
    for alarm in pipeline.finish():
        on_alarm(alarm)
    return pipeline
