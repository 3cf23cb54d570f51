"""The processor's cores, and how many frames are detected on them at the same time."""

import os

MAX_CONCURRENCY = 8
"""Each frame needs its own memory in the network: tens of megabytes, for ResNet-50 hundreds."""


_limit: list[int] = []


def limit_cores(count: int) -> None:
    """Let this process work on so many cores at most, since other processes work beside it.

    Encoders alone are not limited: what they write depends on how many threads they have.
    """
    import cv2  # not before it is needed: it takes a while

    _limit[:] = [count]
    cv2.setNumThreads(count)


def core_limit() -> int:
    """That of ``limit_cores``; 0 for none."""
    return min(_limit, default=0)


def core_count() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return min([_available(), *_limit])


def _available() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def file_concurrency() -> int:
    """Concurrency for files, where throughput counts and latency does not: one per core, up to ``MAX_CONCURRENCY``."""
    return min(core_count(), MAX_CONCURRENCY)
