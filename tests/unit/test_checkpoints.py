"""Checkpoints: whole or not at all, the newest that is whole, never a zombie's; on every medium."""

import errno
import os

import pytest

from agent.checkpoint.directory import Directory
from agent.checkpoint.medium import Memory
from agent.checkpoint.store import HEADER, Checkpoints

NAMES = ["credit", "credit:0"]


@pytest.fixture(params=["memory", "directory"])
def medium(request, tmp_path):
    return Memory() if request.param == "memory" else Directory(tmp_path / "state")


def opened(medium, names=("credit",)):
    made = Checkpoints(medium, chunk_bytes=10)
    found = made.open(list(names))
    assert found is not None
    return made, {name: f.payload for name, f in found.items()}


def found(medium, name="credit"):
    return Checkpoints(medium, chunk_bytes=10).open([name])[name]


class Dying:
    """A medium that stops after some records, as a process does that is killed."""

    def __init__(self, medium, records):
        self.medium, self.left = medium, records
        self.problem = ""

    def put(self, entries):
        now, self.left = entries[: self.left], self.left - len(entries)
        self.medium.put(now)
        return len(now) == len(entries)

    def claim(self, names):
        return self.medium.claim(names)

    def load(self, names):
        return self.medium.load(names)


def test_what_was_saved_is_found_by_the_next(medium):
    checkpoints, first = opened(medium, NAMES)
    assert first == {"credit": None, "credit:0": None}
    for name, payload in (("credit", b"x" * 35), ("credit:0", b""), ("credit", b"y" * 12)):
        assert checkpoints.save(name, payload)
    assert opened(medium, NAMES)[1] == {"credit": b"y" * 12, "credit:0": b""}
    assert medium.problem == ""


def test_names_are_not_confused(medium):
    names = ["a", "a:1", "a:10", "ä%2F", ".", ".."]
    checkpoints, _ = opened(medium, names)
    for name in names:
        checkpoints.save(name, name.encode())
    _, again = opened(medium, names)
    assert again == {n: n.encode() for n in names}


def test_a_name_of_dots_leads_out_of_no_directory(tmp_path):
    checkpoints, _ = opened(Directory(tmp_path / "state"), [".", ".."])
    assert checkpoints.save("..", b"x") and checkpoints.save(".", b"y")
    assert [path.name for path in tmp_path.iterdir()] == ["state"]
    assert all(path.is_dir() for path in (tmp_path / "state").iterdir())


@pytest.mark.parametrize("records", range(9))
def test_a_crash_in_the_middle_leaves_the_one_before(medium, records):
    checkpoints, _ = opened(medium)
    assert checkpoints.save("credit", b"a" * 30)
    assert checkpoints.save("credit", b"b" * 30)
    checkpoints.medium = Dying(medium, records)
    done = checkpoints.save("credit", b"c" * 35)
    assert done == (records >= 4)
    assert found(medium).payload == (b"c" * 35 if done else b"b" * 30)
    # Another crash of the next process at its own first checkpoint does no harm either.
    successor, payload = opened(Dying(medium, records))
    successor.save("credit", b"d" * 35)
    assert found(medium).payload == (b"d" * 35 if records >= 4 else payload["credit"])


def test_a_save_that_fails_does_not_mix_with_the_next(medium):
    checkpoints, _ = opened(medium)
    checkpoints.save("credit", b"a" * 30)
    checkpoints.medium = Dying(medium, 2)
    assert not checkpoints.save("credit", b"b" * 30)
    checkpoints.medium = medium
    assert checkpoints.save("credit", b"c" * 30)
    assert found(medium).payload == b"c" * 30


@pytest.mark.parametrize("records", range(4))
def test_saves_that_fail_again_and_again_leave_the_last_whole_one(medium, records):
    checkpoints, _ = opened(medium)
    for text in (b"a", b"b", b"c"):
        assert checkpoints.save("credit", text * 40)
    for text in (b"d", b"e", b"f"):
        checkpoints.medium = Dying(medium, records)
        assert not checkpoints.save("credit", text * 40)
        assert found(medium).payload == b"c" * 40
    checkpoints.medium = medium
    assert checkpoints.save("credit", b"g" * 40)
    assert found(medium).payload == b"g" * 40


def test_a_zombie_writes_in_vain(medium):
    zombie, _ = opened(medium)
    zombie.save("credit", b"old")
    heir, payload = opened(medium)
    assert payload["credit"] == b"old"
    assert heir.save("credit", b"new")
    for text in (b"late", b"later", b"latest"):
        zombie.save("credit", text)
    assert found(medium).payload == b"new"
    assert heir.save("credit", b"newer")
    assert found(medium).payload == b"newer"


def test_what_older_claims_left_is_removed(medium):
    checkpoints, _ = opened(medium)
    checkpoints.save("credit", b"x" * 95)
    heir, _ = opened(medium)
    heir.save("credit", b"y" * 15)
    assert len(medium.load(["credit"])["credit"]) == 12, "the older one serves if that is damaged"
    heir.save("credit", b"z" * 5)
    assert len(medium.load(["credit"])["credit"]) == 3


@pytest.mark.parametrize("damage", ["a byte", "cut short", "emptied", "another format", "magic"])
def test_a_damaged_record_is_told_and_the_one_before_serves(medium, damage):
    checkpoints, _ = opened(medium)
    checkpoints.save("credit", b"a" * 30)
    checkpoints.save("credit", b"b" * 30)
    key, record = max(
        medium.load(["credit"])["credit"].items(), key=lambda kv: HEADER.unpack_from(kv[1])[2:4]
    )
    damaged = {
        "a byte": record[:-1] + b"!",
        "cut short": record[:-1],
        "emptied": b"",
        "another format": record[:4] + (9).to_bytes(2, "big") + record[6:],
        "magic": b"X" + record[1:],
    }[damage]
    medium.put([(f"credit/{key}", damaged)])
    again = found(medium)
    assert again.payload == b"a" * 30
    assert len(again.problems) == 1 and key in again.problems[0]
    if damage == "another format":
        assert "format 9" in again.problems[0]


def test_where_all_is_damaged_nothing_is_found_and_a_new_one_can_be_written(medium):
    checkpoints, _ = opened(medium)
    checkpoints.save("credit", b"a" * 30)
    for key in medium.load(["credit"])["credit"]:
        medium.put([(f"credit/{key}", b"rubbish")])
    heir = Checkpoints(medium, 10)
    nothing = heir.open(["credit"])["credit"]
    assert nothing.payload is None and len(nothing.problems) == 3
    heir.save("credit", b"fresh")
    assert found(medium).payload == b"fresh"


def test_a_full_disk_is_a_problem_and_no_error(tmp_path, monkeypatch):
    """A disk that is full is simulated: a real one stands in the end-to-end tests."""
    medium = Directory(tmp_path)
    checkpoints, _ = opened(medium)
    checkpoints.save("credit", b"a")

    def full(number):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert not checkpoints.save("credit", b"b")
        assert medium.problem.endswith("cannot be written: No space left on device")
    assert not list(tmp_path.glob("**/*.partial"))
    assert found(medium).payload == b"a"
    assert checkpoints.save("credit", b"c")
    assert medium.problem == ""


def test_a_directory_that_cannot_be_made_is_a_problem_and_no_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    medium = Directory(tmp_path / "file" / "state")
    assert Checkpoints(medium).open(["credit"]) is None
    assert "cannot be claimed: Not a directory" in medium.problem


def test_claims_of_a_directory_grow_whoever_makes_them(tmp_path):
    claims = [Directory(tmp_path).claim(["credit"])["credit"] for _ in range(5)]
    assert claims == sorted(set(claims))
    assert len(list(tmp_path.glob("credit/claim.*"))) == 1


def test_where_there_is_nothing_to_claim_no_medium_is_asked():
    """An agent may have been handed nothing but partitions of panes, of no model's."""

    class Nothing(Memory):
        def claim(self, names):
            raise AssertionError

        load = claim

    assert Checkpoints(Nothing()).open([]) == {}
