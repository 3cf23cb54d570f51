"""The same work on one item after another, or on several at a time, with the results in the items' order."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")
Done = TypeVar("Done")


class OrderedPool(Generic[Item, Done]):
    """Works on items in threads of its own; with one worker, in the caller's."""

    def __init__(self, work: Callable[[Item], Done], workers: int, name: str) -> None:
        """``name``: what the names of the threads begin with."""
        self._work = work
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix=name) if workers > 1 else None
        # One more than there are workers: none is idle while the caller is busy with the first.
        self._depth = workers + 1 if workers > 1 else 1

    def map(self, items: Iterator[Item]) -> Iterator[Done]:
        """What was made of each of the items, none of which is None, in their order; a few of them are taken ahead.

        Raises:
            Exception: of ``items``, after the results of all that came before it; of the work, in place of its result.
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
                del error  # it refers to this very frame, which would live on

    def close(self) -> None:
        """Wait for the workers, and drop what they have not begun."""
        if self._threads:
            self._threads.shutdown(cancel_futures=True)

    def _start(self, item: Item) -> Callable[[], Done]:
        return self._threads.submit(self._work, item).result if self._threads else partial(self._work, item)
