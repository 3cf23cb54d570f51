"""What every test gets."""

import importlib.util
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadFileScheduling

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
            "reach",
            "reach_video",
            "readme",
            "robustness",
            "shipped_on_val",
            "training_commands",
        )
    ),
]
collect_ignore = [] if importlib.util.find_spec("torch") else NEED_TORCH


# Under pytest-xdist these files start first, so that no long one is left to a single process at the end.
LONG_FILES = (
    "tests/test_docs.py",
    "tests/test_readme.py",
    "tests/train/test_fit.py",
    "tests/realtime/test_cli.py",
    "tests/realtime/test_window.py",
    "tests/realtime/test_serve_browser.py",
    "tests/train/test_interrupt.py",
    "tests/realtime/test_faults.py",
    "tests/test_gpu_benchmark.py",
    "tests/export/test_to_onnx.py",
    "tests/realtime/test_using.py",
    "tests/realtime/test_video_command.py",
    "tests/realtime/test_shipped.py",
)
SCREEN_FILES = frozenset(
    f"tests/realtime/test_{name}.py" for name in ("window", "live_window", "grid_window", "lost_terminal", "doctor")
)
"""They open windows: one process takes their tests, one after the other. pytest-xdist's own groups would do, but
version 3.8 does not see them with pytest 9.2."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> "LoadFileScheduling":
    """Keep the tests of a file in one process of pytest-xdist, which builds its fixtures once."""
    from xdist.scheduler import LoadFileScheduling

    class FileScheduling(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            return "screen" if file in SCREEN_FILES else file

    return FileScheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files come first."""
    ranks = {name: rank for rank, name in enumerate(LONG_FILES)}
    items.sort(key=lambda item: ranks.get(item.nodeid.partition("::")[0], len(ranks)))


LINGER_S = 30.0
"""A server may encode for this long for a page that was closed while it connected (``CONNECT_S`` of WebRTC)."""


@pytest.fixture(autouse=True)
def no_thread_left() -> Iterator[None]:
    """Fail any test that leaves a thread alive."""
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before and _is_ours(thread)]
    end_s = time.monotonic() + LINGER_S
    for thread in left:
        thread.join(max(0.0, end_s - time.monotonic()))
    assert not [thread.name for thread in left if thread.is_alive()]


def _is_ours(thread: threading.Thread) -> bool:
    """torch and its exporter keep helper threads of their own."""
    return thread.name in {"capture", "receive", "encode", "stop", "serve"} or thread.name.startswith(
        ("Thread-", "test-", "detect-")
    )


@pytest.fixture
def hang_up() -> Iterator[None]:
    """SIGHUP ends this process and those that it starts, as it does by default: under ``nohup`` it would be ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.fixture
def clip() -> Path:
    """The sample clip: 144 frames of 640x360 at 24 frames/s, one moving face."""
    return ROOT / "samples" / "astronaut.mp4"


@pytest.fixture(scope="session")
def photos() -> Path:
    """The photos that come with the package: a face near and far, a cat and a rocket."""
    return ROOT / "export" / "images"
