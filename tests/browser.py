"""A real browser for the tests of the page: Debian's Chromium, driven by playwright."""

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream", "--disable-dev-shm-usage",
]  # fmt: skip
WAIT_MS = 60_000

needs_browser = pytest.mark.skipif(
    CHROMIUM is None or importlib.util.find_spec("playwright") is None,
    reason="needs Chromium (apt install chromium) and the package playwright",
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser for all tests of a file."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def new_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens pages in profiles of their own; a page that reports an error fails the test."""
    contexts, errors = [], []

    def open_page(*, script: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 800}} | options)
        context.set_default_timeout(WAIT_MS)
        if script:
            context.add_init_script(script)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert errors == []


def picture_of(locator: Any) -> np.ndarray:
    """What is on the screen, uint8 (H,W,3) BGR."""
    return cv2.imdecode(np.frombuffer(locator.screenshot(), np.uint8), cv2.IMREAD_COLOR)


def bounds_of(mask: np.ndarray) -> tuple[int, int, int, int] | None:
    """The box around what is set in a mask (H,W): xyxy px."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
