"""The one bridge between the threads that detect and encode and the event loop that serves."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Generic, Protocol, Self, TypeVar


class Item(Protocol):
    """Something that is published."""

    @property
    def is_key(self) -> bool:
        """Whether it can be understood without the items before it."""


T = TypeVar("T", bound=Item)
MAX_PENDING = 64
"""Items that may wait for the event loop; if it is so far behind, the oldest are lost."""


class Feed(Generic[T]):
    """Carries items from threads to any number of subscribers in the event loop.

    ``publish`` never waits: a subscriber that does not keep up loses items, the others and the publisher do not notice.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, on_gap: Callable[[], None] = lambda: None) -> None:
        """``on_gap`` is called in the loop when a subscriber needs an item that ``is_key``."""
        self._loop = loop
        self._on_gap = on_gap
        self._subscriptions: set[Subscription[T]] = set()
        self._pending: deque[T] = deque(maxlen=MAX_PENDING)
        self._lock = threading.Lock()
        self._is_scheduled = False

    def __len__(self) -> int:
        return len(self._subscriptions)

    def publish(self, item: T) -> None:
        """Give an item to all subscribers; from any thread."""
        with self._lock:
            self._pending.append(item)
            if self._is_scheduled:
                return
            self._is_scheduled = True
        with suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._deliver)

    def subscribe(self, capacity: int = 1) -> "Subscription[T]":
        """Receive what is published from now on; ``capacity``: items that may wait. In the event loop."""
        subscription = Subscription(self, capacity)
        self._subscriptions.add(subscription)
        return subscription

    def forget(self, subscription: "Subscription[T]") -> None:
        """Give it nothing more."""
        self._subscriptions.discard(subscription)

    def close(self) -> None:
        """End all subscriptions. In the event loop."""
        for subscription in list(self._subscriptions):
            subscription.close()

    def lost(self) -> None:
        """A subscriber has a gap."""
        self._on_gap()

    def _deliver(self) -> None:
        with self._lock:
            items = list(self._pending)
            self._pending.clear()
            self._is_scheduled = False
        for item in items:
            for subscription in tuple(self._subscriptions):
                subscription.put(item)


class Subscription(Generic[T]):
    """What one viewer has not taken yet. All of it happens in the event loop."""

    def __init__(self, feed: Feed[T], capacity: int) -> None:
        self._feed = feed
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._changed = asyncio.Event()
        self._closed = False
        self._needs_key = True
        self.dropped = 0
        """Items that were lost because newer ones came."""

    def put(self, item: T) -> None:
        """Take an item in, and drop all that waits if there is no room; then the next one has to be a key."""
        if self._closed:
            return
        if len(self._items) >= self._capacity:
            self.dropped += len(self._items)
            self._items.clear()
            self._needs_key = True
        if self._needs_key and not item.is_key:
            self.dropped += 1
            self._feed.lost()
            return
        self._needs_key = False
        self._items.append(item)
        self._changed.set()

    async def get(self) -> T | None:
        """The next item; None once the subscription is closed."""
        while not self._items and not self._closed:
            self._changed.clear()
            await self._changed.wait()
        return None if self._closed else self._items.popleft()

    def close(self) -> None:
        """End it; whoever waits gets None. May be called twice."""
        self._closed = True
        self._items.clear()
        self._feed.forget(self)
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[T]:
        while (item := await self.get()) is not None:
            yield item

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
