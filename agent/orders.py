"""Carries out what people ask of a running agent. Called by the loop, between two polls."""

from dataclasses import dataclass

import structlog

from agent.acceptance import Refused, Unknown, accept
from agent.control import Accept, Acknowledge, Answer, Command
from agent.learning import Learner
from agent.pipeline import Pipeline
from agent.publish.events import Event, acceptance_data, accepted_event, alarm_data, cloud_event
from agent.publish.snapshot import Alarm


@dataclass(frozen=True, slots=True)
class Done:
    """The answer, the events that tell of it, and the alarms that it cleared."""

    answer: Answer
    events: tuple[Event, ...] = ()
    cleared: tuple[Alarm, ...] = ()


def carry_out(command: Command, pipeline: Pipeline, now: float) -> Done:
    """Do it, or say why not; never raises. `now` in seconds since the epoch."""
    try:
        if isinstance(command, Acknowledge):
            return _acknowledge(command, pipeline, now)
        return _accept(command, pipeline, now)
    except Unknown as error:
        return _refused(404, str(error))
    except Refused as error:
        return _refused(409, str(error))
    except Exception:
        structlog.get_logger("agent.orders").exception("command failed", command=repr(command))
        return _refused(500, "it failed: see the agent's log")


def _acknowledge(command: Acknowledge, pipeline: Pipeline, now: float) -> Done:
    for model in pipeline.started():
        known = {alarm.id: alarm for alarm in model.alarms.standing.values()}
        if command.alarm in known:
            at = int(now * 1000)
            alarm = model.alarms.acknowledge(command.alarm, command.by, command.comment, at)
            assert alarm is not None
            new = known[alarm.id].acknowledged_at is None
            events = (cloud_event(alarm, now, "acknowledged"),) if new else ()
            return Done(Answer(200, {"alarm": alarm_data(alarm)}), events)
        if any(alarm.id == command.alarm for alarm in model.alarms.cleared):
            return _refused(409, f"the alarm {command.alarm} has cleared")
    return _refused(404, f"no alarm {command.alarm!r} stands")


def _accept(command: Accept, pipeline: Pipeline, now: float) -> Done:
    names = pipeline.models
    if command.model not in names:
        return _refused(404, f"no model {command.model!r}: there are {', '.join(names)}")
    model = pipeline.model(command.model)
    if isinstance(model, Learner):
        return _refused(409, f"{command.model}: its profile is still being learned")
    made = accept(model, command.target, command.by, command.comment, int(now * 1000))
    cleared = [cloud_event(alarm, now, "cleared") for alarm in made.cleared]
    answer = Answer(200, acceptance_data(made))
    configuration = pipeline.config.hash
    return Done(answer, (accepted_event(made, configuration, now), *cleared), made.cleared)


def _refused(status: int, why: str) -> Done:
    return Done(Answer(status, {"error": why}))
