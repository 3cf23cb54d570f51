"""Whose turn it is, without threads but where something waits."""

import threading

import numpy as np
import pytest
from fakes import WAIT_S

from realtime.cameras.turns import MAX_JOBS, Job, TooManyJobsError, Turns
from realtime.structures import Frame


def frame(index=0):
    return Frame(np.zeros((2, 2, 3), np.uint8), index, 0.0, 0.0)


def turns_of(*keys):
    turns = Turns()
    for key in keys:
        turns.add(key)
    return turns


def take(turns, limit=1):
    taken = turns.take(limit)
    for key, _ in taken:
        turns.done(key)
    return [(key, one.index) for key, one in taken]


def test_cameras_take_turns_however_fast_one_sends():
    turns, seen = turns_of("fast", "slow", "slower"), []
    for round_ in range(30):
        turns.put("fast", frame(round_))
        if round_ % 3 == 0:
            turns.put("slow", frame(round_))
            turns.put("slower", frame(round_))
        seen += [key for key, _ in take(turns)]
    assert [seen.count(key) for key in ("fast", "slow", "slower")] == [10, 10, 10]


def test_a_new_camera_gets_no_more_than_its_share():
    turns = turns_of("old")
    for index in range(50):
        turns.put("old", frame(index))
        take(turns)
    turns.add("new")
    seen = []
    for index in range(10):
        turns.put("old", frame(index))
        turns.put("new", frame(index))
        seen += [key for key, _ in take(turns)]
    assert seen == ["old", "new"] * 5


def test_the_newest_frame_wins():
    turns = turns_of("a")
    for index in range(4):
        assert turns.put("a", frame(index))
    assert take(turns) == [("a", 3)]


def test_a_batch_takes_one_frame_of_each_camera_those_that_wait_for_longest():
    turns = turns_of("a", "b", "c")
    for key in "abc":
        turns.put(key, frame())
    assert [key for key, _ in take(turns, 2)] == ["a", "b"]
    for key in "ab":
        turns.put(key, frame(1))
    assert take(turns, 4) == [("c", 0), ("a", 1), ("b", 1)]


def test_a_camera_has_one_frame_worked_on_at_a_time():
    turns = turns_of("a", "b")
    for key in "ab":
        turns.put(key, frame())
    assert [key for key, _ in turns.take()] == ["a"]
    turns.put("a", frame(1))
    assert [key for key, _ in turns.take()] == ["b"]
    assert turns.has_work("b")
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(turns.take()), name="test-take")
    waiting.start()
    turns.done("a")
    waiting.join(WAIT_S)
    assert [(key, one.index) for key, one in taken[0]] == [("a", 1)]


def test_jobs_have_turns_as_one_camera_has():
    turns, done = turns_of("a", "b"), []
    for number in range(3):
        turns.submit(lambda number=number: done.append(number))
    order = []
    for _ in range(9):
        for key in "ab":
            turns.put(key, frame())
        turn = turns.take()
        if isinstance(turn, Job):
            turn.run()
            order.append("job")
        else:
            order.append(turn[0][0])
            turns.done(turn[0][0])
    assert done == [0, 1, 2]
    assert [place for place, name in enumerate(order) if name == "job"] == [0, 3, 6]


def test_a_job_gives_its_value_or_its_error_and_there_are_not_too_many():
    turns = turns_of()
    value, error = turns.submit(lambda: 7), turns.submit(lambda: 1 / 0)
    cancelled = turns.submit(pytest.fail)
    cancelled.cancel()
    for _ in range(3):
        turns.take().run()
    assert value.result() == 7
    assert isinstance(error.exception(), ZeroDivisionError)
    waiting = [turns.submit(list) for _ in range(MAX_JOBS)]
    with pytest.raises(TooManyJobsError):
        turns.submit(list)
    turns.close()
    assert all(future.cancelled() for future in [*waiting, turns.submit(list)])


def test_a_camera_that_is_removed_is_forgotten():
    turns = turns_of("a")
    turns.put("a", frame())
    turns.remove("a")
    assert not turns.put("a", frame())
    assert not turns.has_work("a")
    turns.done("a")
    turns.close()
    assert turns.take() is None
