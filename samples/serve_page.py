"""Makes the picture of the page of ``realtime serve`` in ``docs/images``: two cameras that send our own footage.

The command runs as for any user; the cameras are motion JPEG over HTTP from this script. Needs Chromium.

    pip install playwright pillow 'facial-feature-rcnn[serve]' && PYTHONPATH=benchmarks python samples/serve_page.py
"""

import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
from jpeg_sender import jpeg_sender
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "images" / "serve.webp"
CLIP = ROOT / "samples" / "astronaut.mp4"
PORTRAIT = ROOT / "export" / "images" / "astronaut.jpg"
FRAMES_PER_S = 24
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
WINDOW = {"width": 1280, "height": 520}
SETTLE_MS = 4000
TIMEOUT_MS = 60_000


def clip() -> list[np.ndarray]:
    """The frames of the sample clip, uint8 (H,W,3) BGR."""
    with av.open(str(CLIP)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def group() -> list[np.ndarray]:
    """Three people who do not move much, uint8 (H,W,3) BGR."""
    portrait = cv2.imread(str(PORTRAIT))[10:270, 90:350]
    canvas = np.full((720, 1280, 3), 60, np.uint8)
    for x, side, mirrored in ((30, 420, False), (440, 460, True), (890, 360, False)):
        person = portrait[:, ::-1] if mirrored else portrait
        canvas[720 - side :, x : x + side] = cv2.resize(person, (side, side), interpolation=cv2.INTER_CUBIC)
    return [np.roll(canvas, round(2 * np.sin(step / 8)), axis=1) for step in range(50)]


@contextmanager
def served(cameras: dict[str, str]) -> Iterator[str]:
    """The address of ``realtime serve`` with these cameras."""
    devices = [part for name, address in cameras.items() for part in ("--device", f"{name}={address}")]
    command = [sys.executable, "-m", "realtime", "serve", "--model", "nano", "--reach", "near", "--port", "0", *devices]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stderr
        said = ""
        for line in process.stderr:
            said += line
            if found := re.search(r"serving at (http://\S+)", line):
                yield found[1]
                return
        raise RuntimeError(f"the server ended: {said}")
    finally:
        process.terminate()
        process.communicate(timeout=30)


@contextmanager
def opened(address: str, *, theme: str = "dark") -> Iterator[Page]:
    """The page, once all cameras are live."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=FLAGS)
        context = browser.new_context(viewport=WINDOW, device_scale_factor=1.5)  # type: ignore[arg-type]
        context.add_init_script(f"localStorage.setItem('realtime', JSON.stringify({{theme: '{theme}'}}))")
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(address)
        page.wait_for_function(
            "() => { const tiles = [...document.querySelectorAll('.tile')];"
            " return tiles.length > 0 && tiles.every((tile) => Number(tile.dataset.boxes) > 0); }"
        )
        yield page
        browser.close()


def main(picture: Path = PICTURE) -> None:
    """Take the picture."""
    frames = {"front": clip(), "hall": group()}
    with (
        jpeg_sender(frames, FRAMES_PER_S) as sender,
        served({name: f"{sender}/{name}" for name in frames}) as address,
        opened(address) as page,
    ):
        page.wait_for_timeout(SETTLE_MS)  # frames/s and age are means of some time
        Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(picture, quality=72, method=6)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
