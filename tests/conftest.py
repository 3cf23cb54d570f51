"""What every test gets."""

import importlib.util
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# The app's tests also run where torch is not installed; the others have nothing to test there.
NEED_TORCH = [
    "train",
    "export",
    *(
        f"test_{name}.py"
        for name in (
            "benchmarks",
            "detectors",
            "docs",
            "gpu_benchmark",
            "readme",
            "robustness",
            "shipped_on_val",
            "training_commands",
        )
    ),
]
collect_ignore = [] if importlib.util.find_spec("torch") else NEED_TORCH


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail any test that leaves a thread alive."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before and _is_ours(thread)]
    for thread in left:
        thread.join(2)
    assert not [thread.name for thread in left if thread.is_alive()]


def _is_ours(thread: threading.Thread) -> bool:
    """torch and its exporter keep helper threads of their own."""
    return thread.name in {"capture", "receive", "encode", "stop"} or thread.name.startswith(("Thread-", "test-"))


@pytest.fixture
def clip() -> Path:
    """The sample clip: 144 frames of 640x360 at 24 frames/s, one moving face."""
    return ROOT / "samples" / "astronaut.mp4"
