"""A clock that jumps closes no pane; one that was set right is believed in the end."""

from agent.clock import JUMP_SECONDS, PATIENCE, SteadyClock


class Time:
    def __init__(self):
        self.wall, self.steady = 1_700_000_000.0, 5.0

    def pass_by(self, seconds):
        self.wall, self.steady = self.wall + seconds, self.steady + seconds

    def clock(self):
        return SteadyClock(lambda: self.wall, lambda: self.steady)


def test_it_goes_with_the_wall_clock():
    time = Time()
    clock = time.clock()
    for _ in range(100):
        time.pass_by(7.3)
        assert clock() == time.wall


def test_a_jump_that_is_taken_back_changes_nothing():
    for jump in (3_600.0, -3_600.0, 86_400.0 * 400, JUMP_SECONDS + 0.1):
        time = Time()
        clock, true = time.clock(), time.wall
        time.wall += jump
        for _ in range(10):
            time.pass_by(5.0)
            true += 5.0
            assert abs(clock() - true) < 1e-3
        time.wall -= jump
        assert abs(clock() - time.wall) < 1e-3


def test_a_jump_that_lasts_is_believed():
    time = Time()
    clock = time.clock()
    time.wall += 3_600.0
    clock()
    time.pass_by(PATIENCE - 0.1)
    assert clock() < time.wall - 3_599
    time.pass_by(0.1)
    assert clock() == time.wall
    time.pass_by(1.0)
    assert clock() == time.wall


def test_a_clock_that_is_slewed_is_followed():
    time = Time()
    clock = time.clock()
    for _ in range(1_000):
        time.pass_by(1.0)
        time.wall += 0.01
        assert clock() == time.wall
