"""Parallel work on a stream of items, with the results in the order of the items."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")


class OrderedPool(Generic[Item, Done]):
    """Works on items in its own threads; with one worker, in the caller's."""

    def __init__(self, work: Callable[[Item], Done], workers: int, name: str, *, max_ahead: int | None = None) -> None:
        """No thread runs yet.

        Args:
            work: done on each item.
            workers: how many threads work.
            name: prefix of the names of the threads.
            max_ahead: when item n is taken, the result of item n - ``max_ahead`` has been given and handled.
        """
        self._work = work
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name) if workers > 1 else None
        # One more than the workers, so that none is idle while the caller handles the first result.
        self._depth = workers + 1 if workers > 1 else 1
        if max_ahead is not None:
            self._depth = min(self._depth, max_ahead)

    def map(self, items: Iterator[Item]) -> Iterator[Done]:
        """The result of each item (which must not be None), in order; a few items are read ahead.

        Raises:
            Exception: raised by ``items``, after the results of all items before; or by the work, in place of a result.
        """
        pending: deque[Callable[[], Done]] = deque()
        item: Item | None = None
        error: Exception | None = None
        while True:
            try:
                item = next(items, None)
            except Exception as raised:
                item, error = None, raised
            if item is None:
                break
            pending.append(self._start(item))
            if len(pending) == self._depth:
                yield pending.popleft()()
        while pending:
            yield pending.popleft()()
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback refers to this stack frame, which would live on

    def close(self) -> None:
        """Wait for the workers, and drop the items that are not started."""
        if self._threads:
            self._threads.shutdown(cancel_futures=True)

    def _start(self, item: Item) -> Callable[[], Done]:
        return self._threads.submit(self._work, item).result if self._threads else partial(self._work, item)
