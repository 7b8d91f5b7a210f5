"""Whatever newest checkpoints are damaged, and whenever: the older ones lead to the same state."""

import pytest

from agent.checkpoint.medium import Memory
from tests.rig.damage import newest
from tests.unit.test_checkpoints import Dying
from tests.unit.test_keeper import (  # noqa: F401  # fixtures
    PARTITIONS,
    Agent,
    config,
    counts,
    log,
    undisturbed,
)

NAMES = ["credit", *(f"credit:{n}" for n in range(PARTITIONS))]
DAMAGED = [["credit"], ["credit:1"], ["credit", "credit:2"], NAMES]


def ruin(medium, names):
    """Overwrite the newest record of each of these."""
    for name in names:
        medium.put([(key, b"rubbish") for key in newest(medium, name)])


@pytest.mark.parametrize("names", DAMAGED, ids="+".join)
@pytest.mark.parametrize(("saves", "written"), [(1, 0), (1, PARTITIONS), (2, 2)])
def test_the_one_before_serves(config, log, undisturbed, names, written, saves):  # noqa: F811
    """Saved whole some times, and once more `written` records of it; then these are damaged."""
    medium = Memory()
    first = Agent(config, log, medium, 700)
    for _ in range(3):
        first.turn(save=True)
    agent = Agent(config, log, medium, 300)
    for _ in range(saves):
        agent.turn(save=True)
    agent.turn()
    agent.keeper._checkpoints.medium = Dying(medium, written)
    agent.keeper.save()
    ruin(medium, names)

    again = Agent(config, log, medium, 400)
    assert again.keeper.outcomes == {"restored": PARTITIONS + 1, "damaged": len(names)}
    again.run()
    assert again.state() == undisturbed.state()
    assert counts(again) == counts(undisturbed)
