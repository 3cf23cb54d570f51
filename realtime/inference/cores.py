"""The processor's cores, and how many frames are detected at a time on them."""

import os

MAX_CONCURRENCY = 8
"""Frames at a time at most: each needs memory of its own in the network, tens of megabytes, for ResNet-50 hundreds."""


def core_count() -> int:
    """Cores that this process may use, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def file_concurrency() -> int:
    """Frames at a time where no frame is in a hurry: one for each core, up to ``MAX_CONCURRENCY``."""
    return min(core_count(), MAX_CONCURRENCY)
