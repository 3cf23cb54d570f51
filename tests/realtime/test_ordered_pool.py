"""Several items at a time, results in order."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from fakes import WAIT_S, Gate, wait_until

from realtime.inference.ordered_pool import OrderedPool


@pytest.fixture
def pool_of():
    """Makes pools, closes them, and looks for what they left."""
    pools = []

    def make(work, workers, **kwargs):
        pools.append(OrderedPool(work, workers, name="test-pool", **kwargs))
        return pools[-1]

    yield make
    for pool in pools:
        pool.close()
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("test-pool")]


def counted(items, taken):
    for item in items:
        taken.append(item)
        yield item


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_the_order_of_the_items(pool_of, workers):
    assert list(pool_of(lambda item: 2 * item, workers).map(iter(range(20)))) == list(range(0, 40, 2))
    assert list(pool_of(lambda item: item, workers).map(iter(()))) == []


def test_a_slow_item_holds_those_after_it_back(pool_of):
    gate, later = Gate(), threading.Event()

    def work(item):
        if item == 0:
            gate()
        else:
            later.set()
        return item

    results = pool_of(work, 2).map(iter(range(3)))
    opener = threading.Thread(target=lambda: (later.wait(WAIT_S), gate.open()), name="test-open")
    opener.start()
    assert list(results) == [0, 1, 2]
    opener.join(WAIT_S)


def test_as_many_items_at_a_time_as_there_are_workers(pool_of):
    together = threading.Barrier(3)
    assert list(pool_of(lambda item: together.wait(WAIT_S) * 0 + item, 3).map(iter(range(6)))) == list(range(6))


def test_one_item_more_than_there_are_workers_is_taken_ahead(pool_of):
    taken = []
    results = pool_of(lambda item: item, 3).map(counted(range(10), taken))
    assert next(results) == 0
    assert taken == [0, 1, 2, 3]
    assert next(results) == 1
    assert taken == [0, 1, 2, 3, 4]


def test_one_worker_is_the_caller_and_takes_nothing_ahead(pool_of):
    taken = []
    results = pool_of(lambda item: (item, threading.current_thread()), 1).map(counted(range(3), taken))
    assert next(results) == (0, threading.current_thread())
    assert taken == [0]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_of_the_items_comes_after_the_results_before_it(pool_of, workers):
    def items():
        yield from range(5)
        raise KeyError("broken")

    results = pool_of(lambda item: item, workers).map(items())
    assert [next(results) for _ in range(5)] == list(range(5))
    with pytest.raises(KeyError, match="broken"):
        next(results)


@pytest.mark.parametrize("workers", [1, 3])
def test_an_error_of_the_work_comes_in_place_of_its_result(pool_of, workers):
    results = pool_of(lambda item: 1 / (2 - item), workers).map(iter(range(9)))
    assert [next(results), next(results)] == [0.5, 1.0]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_to_close_it_waits_for_what_is_begun_and_drops_the_rest(pool_of, monkeypatch):
    gate, begun, done, taken, submitted = Gate(), [], [], [], []

    class WatchedExecutor(ThreadPoolExecutor):
        def submit(self, *work):
            submitted.append(super().submit(*work))
            return submitted[-1]

    monkeypatch.setattr("realtime.inference.ordered_pool.ThreadPoolExecutor", WatchedExecutor)
    pool = pool_of(lambda item: (begun.append(item), gate(), done.append(item)), 2)
    results = pool.map(counted(range(9), taken))
    starter = threading.Thread(target=lambda: next(results), name="test-start")
    starter.start()
    wait_until(lambda: len(begun) == 2 and len(submitted) == 3)  # the third waits for a worker
    closer = threading.Thread(target=pool.close, name="test-close")
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    gate.open()
    for thread in (closer, starter):
        thread.join(WAIT_S)
    assert {0, 1} <= set(done) <= {0, 1, 2} == set(taken)


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_no_item_is_taken_before_the_result_of_one_so_many_before_was_handled(pool_of, workers):
    handled, gaps = [], []

    def items():
        for item in range(20):
            gaps.append(item - len(handled))
            yield item

    for result in pool_of(lambda item: item, workers, max_ahead=3).map(items()):
        handled.append(result)  # noqa: PERF402 - the items look at it meanwhile
    assert handled == list(range(20))
    assert max(gaps) < 3
