"""A bounded buffer between two threads."""

import threading
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class ClosableBuffer(Generic[T]):
    """A bounded buffer between two threads that either side can close at any time.

    No sentinel goes through the queue, so closing can never wait for room, and nobody polls.
    """

    def __init__(self, capacity: int, *, drop_oldest: bool = False) -> None:
        """``drop_oldest``: a full buffer loses its oldest item instead of making the writer wait."""
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._drop_oldest = drop_oldest
        self._changed = threading.Condition()
        self._closed = False
        self._error: BaseException | None = None
        self.dropped = 0
        """Items that were lost to newer ones."""

    def put(self, item: T) -> bool:
        """Add an item, waiting for room if need be. Returns False, and drops the item, once the buffer is closed."""
        with self._changed:
            if self._drop_oldest and len(self._items) == self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                return False
            self._items.append(item)
            self._changed.notify_all()
            return True

    def get(self, timeout_s: float | None = None) -> T | None:
        """Take the oldest item, waiting for one. None once the buffer is closed and empty, or after ``timeout_s``.

        Raises:
            BaseException: that which the buffer was closed with, after the last item.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items, timeout_s)
            if self._items:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            return None

    @property
    def is_closed(self) -> bool:
        """True once nothing more can come in."""
        return self._closed

    def close(self, error: BaseException | None = None, *, discard: bool = False) -> None:
        """Let no more items in; wake everybody.

        Args:
            error: raised to the reader after the last item.
            discard: drop what is still inside, and the error too: nobody will read.
        """
        with self._changed:
            if error is not None and not self._closed:
                self._error = error
            if discard:
                self._items.clear()
                self._error = None
            self._closed = True
            self._changed.notify_all()
