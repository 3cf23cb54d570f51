"""What one client may ask of the server."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.requests import Request

MAX_CLIENTS = 4096
"""Clients whose rate is remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a server."""

    upload_bytes: int = 20 * 2**20
    """Of an image that is sent for detection."""
    upload_pixels: int = 50_000_000
    """Of such an image; a small file can hold a large one."""
    uploads: int = 4
    """Images that are received, decoded or detected in at once; further ones wait at their sender."""
    upload_s: float = 30.0
    """Time that such an image may take to arrive."""
    offer_bytes: int = 64 * 2**10
    """Of a WebRTC offer."""
    viewers: int = 64
    """Videos that are watched at once."""
    guests: int = 4
    """Browsers that send their own camera."""
    listeners: int = 64
    """Listeners to events."""
    connections: int = 512
    requests_per_s: float = 50.0
    """Of one client, for detection and for WebRTC, on average."""
    burst: int = 100
    """Requests that may come at once."""
    logins_per_minute: int = 10
    """Wrong tokens of one client."""


class Rate:
    """A token bucket for each client (its address)."""

    def __init__(self, per_s: float, burst: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._burst = burst
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def is_empty(self, client: str) -> bool:
        """Whether the next request of a client would exceed the rate."""
        return self._left(client) < 1

    def allows(self, client: str) -> bool:
        """Count a request of a client; False, and it does not count, if it exceeds the rate."""
        left = self._left(client)
        self._buckets.pop(client, None)
        self._buckets[client] = (left - 1 if left >= 1 else left), self._clock()
        while len(self._buckets) > MAX_CLIENTS:
            self._buckets.popitem(last=False)
        return left >= 1

    def _left(self, client: str) -> float:
        left, last_s = self._buckets.get(client, (self._burst, 0.0))
        return min(self._burst, left + (self._clock() - last_s) * self._per_s)


class TooLargeError(Exception):
    """A body that exceeds the limit."""


async def read_body(request: Request, limit: int) -> bytes:
    """The body of a request, which is not read beyond the limit.

    Raises:
        TooLargeError: it is longer.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdecimal() and int(declared[:18]) > limit:
        raise TooLargeError
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise TooLargeError
        parts.append(part)
    return b"".join(parts)


def client_of(request: Request) -> str:
    """The client's address."""
    return request.client.host if request.client else ""
