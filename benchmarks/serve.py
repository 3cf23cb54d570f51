"""``realtime serve`` in a real browser: how old the shown frames are, and what many cameras cost.

A scripted camera writes the time into its images (``latency.py``); the page's own script draws them, and a watcher in
the page reads the time back from the pixels whenever they change. Needs Chromium and the package playwright. Server and
browser share the cores.

Marks, on two cores at 1280x720 and 30 frames/s with ``nano``: age over WebRTC p50 100 ms and p95 200 ms, over JPEG 80
and 150 ms; four cameras together at least 0.95 of the frames/s of one; box and frame never more than one shown frame
apart; 3 s from the command to the first frame in the browser.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import machine
import numpy as np
import typer
from jpeg_sender import jpeg_sender
from latency import BITS, HELD_FRAMES, STRIP_SHARE, TIME_BYTES, ClockCamera
from scenes import images, size_of

from realtime.cameras.camera import Camera, Looking
from realtime.cameras.engine import Engine
from realtime.controls import Controls
from realtime.inference.cores import core_count
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.regions.tiles import Reach
from realtime.serve.app import Shown
from realtime.serve.server import ServeOptions, Server
from realtime.stills import detect_still

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
MARKS_MS = {"webrtc": (100.0, 200.0), "jpeg": (80.0, 150.0)}
MANY = 4
SATURATING_RATE = 160
"""Frames/s of all cameras together: more than can be looked at."""
WATCH = """
async ([seconds, bits, timeBytes, stripShare]) => {
  let best = Infinity, offset = 0;
  for (let i = 0; i < 8; i += 1) {
    const sent = performance.now();
    const { server_time_s: server } = await (await fetch("/cameras")).json();
    const received = performance.now();
    if (received - sent < best) { best = received - sent; offset = 1000 * server - (sent + received) / 2; }
  }
  const root = document.querySelector(".tile");
  const canvas = document.createElement("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const seen = [], end = performance.now() + 1000 * seconds;
  let last = -1;
  const look = () => {
    const image = root.querySelector(".picture");
    const { width, height } = image;
    if (root.dataset.frame) {
      const strip = Math.round(stripShare * height);
      canvas.width = width; canvas.height = 1;
      context.drawImage(image, 0, height - Math.round(strip / 2), width, 1, 0, 0, width, 1);
      const row = context.getImageData(0, 0, width, 1).data;
      const bytes = [];
      for (let i = 0; i < bits; i += 1) {
        const set = row[4 * Math.floor((i + 0.5) * width / bits)] > 127 ? 1 : 0;
        bytes[i >> 3] = ((bytes[i >> 3] || 0) << 1) | set;
      }
      const time = bytes.slice(0, timeBytes).reduce((sum, byte) => 256 * sum + byte, 0);
      if (time !== last) {
        last = time;
        seen.push([time, bytes[timeBytes], performance.now() + offset, Number(root.dataset.frame)]);
      }
    }
    if (performance.now() < end) requestAnimationFrame(() => setTimeout(look)); else done(seen);
  };
  let done;
  const all = new Promise((resolve) => { done = resolve; });
  look();
  return all;
}
"""


def measure(
    size: Annotated[str, typer.Option(metavar="WxH", help="Of the cameras' images.")] = "1280x720",
    rate: Annotated[int, typer.Option(min=1, help="Of the camera that is watched, in frames/s.")] = 30,
    seconds: Annotated[float, typer.Option(min=0.5, help="Length of each run.")] = 10.0,
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    model: Annotated[str, typer.Option(help="Name of a shipped model, or an ONNX file.")] = "nano",
    reach: Annotated[str, typer.Option(help="near, auto, far or a grid such as 3x2.")] = "near",
    chromium: Annotated[str, typer.Option(help="The browser's program.")] = shutil.which("chromium") or "chromium",
    json_out: Annotated[Path | None, typer.Option("--json", help="Write the figures to this file.")] = None,
) -> None:
    """Measure ages in the browser, boxes against frames, the start, and four cameras against one."""
    scene, how_far = images(size_of(size), HELD_FRAMES), Reach.parse(reach)
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in MARKS_MS}
    shares, starts = [], []
    with browser(chromium) as opened:
        for _ in range(rounds):
            for way, rows in runs.items():
                rows.append(watch(opened, scene, rate, way, seconds, model, how_far))
            starts.append(start_s(opened, scene[0], model))
    for _ in range(rounds):
        alone, together = (throughput(scene, count, seconds, model, how_far) for count in (1, MANY))
        shares.append({"alone": alone, "together": together, "share": together / alone})
    report = {
        "machine": machine.describe(), "model": model, "reach": reach, "frame_wh": size_of(size), "rate": rate,
        "seconds": seconds, "rounds": rounds,
        "browser": {way: machine.spread_of_each(rows) for way, rows in runs.items()},
        "start_s": machine.spread(starts),
        "cameras": machine.spread_of_each(shares),
    }  # fmt: skip
    typer.echo(table(report))
    if json_out:
        json_out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


@contextmanager
def browser(program: str) -> Iterator[Any]:
    """Chromium, without a window."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield opened
        opened.close()


@contextmanager
def serving(camera: ClockCamera, model: str, reach: Reach) -> Iterator[Server]:
    """A server with one camera."""
    engine = Engine(lambda: OnnxDetector(find_model(model), provider=Provider.CPU))
    detector = engine.start()
    assert isinstance(detector, OnnxDetector)
    looking = Looking(reach=reach, uses_helper=core_count() > 1)
    options = ServeOptions(port=0, threshold=detector.metadata.threshold, looking=looking)
    shown = Shown(model=model, provider="cpu", class_names=detector.metadata.class_names)
    try:
        server = Server(engine, partial(detect_still, detector), shown, options)
        try:
            server.start([("clock", camera)])
            yield server
        finally:
            server.stop()
    finally:
        engine.close()


def watch(
    opened: Any, scene: Sequence[np.ndarray], rate: int, way: str, seconds: float, model: str, reach: Reach
) -> dict[str, float]:
    """One run in the browser: ages in milliseconds, frames/s, and how far boxes are from their frames."""
    camera = ClockCamera(scene, rate)
    with serving(camera, model, reach) as server:
        context = opened.new_context(viewport={"width": 1280, "height": 900})
        context.add_init_script(f"localStorage.setItem('realtime', JSON.stringify({{transport: '{way}'}}))")
        page = context.new_page()
        page.goto(server.address)
        page.wait_for_selector(f".tile[data-way='{way}'][data-frame]")
        page.wait_for_timeout(1500)
        seen = page.evaluate(WATCH, [seconds, BITS, TIME_BYTES, STRIP_SHARE])
        context.close()
    rows = [(time_us, now_ms, frame) for time_us, check, now_ms, frame in seen if is_whole(time_us, check)]
    ages_ms = [now_ms - time_us / 1000 for time_us, now_ms, _ in rows]
    indices = [round((time_us / 1e6 - camera._opened_s) * rate) for time_us, *_ in rows]  # noqa: SLF001
    boxes = [int(frame) for *_, frame in rows]
    places = {
        index: place for place, index in enumerate(sorted({*indices, *boxes}))
    }  # among the frames that were shown
    apart = [abs(places[index] - places[frame]) for index, frame in zip(indices, boxes, strict=True)]
    p50, p95 = np.percentile(ages_ms, [50, 95]).tolist()
    return {
        "p50_ms": p50, "p95_ms": p95, "frames_per_s": len(rows) / seconds, "unreadable": float(len(seen) - len(rows)),
        "apart_frames": float(max(apart)), "apart_share": sum(map(bool, apart)) / len(apart),
    }  # fmt: skip


def is_whole(time_us: int, check: int) -> bool:
    """Whether the time was read as it was written."""
    return zlib.crc32(int(time_us).to_bytes(TIME_BYTES, "big")) & 0xFF == check


def throughput(scene: Sequence[np.ndarray], count: int, seconds: float, model: str, reach: Reach) -> float:
    """Frames/s of all cameras together, each of which sends more than can be looked at."""
    workers = min(core_count(), count)
    engine = Engine(lambda: OnnxDetector(find_model(model), provider=Provider.CPU, concurrency=workers))
    detector = engine.start()
    try:
        for number in range(count):
            camera = ClockCamera(scene, SATURATING_RATE // count)
            looking = Looking(reach=reach, uses_helper=count == 1 and core_count() > 1)
            engine.add(Camera(str(number), camera, detector, Controls(detector.metadata.threshold), looking=looking))
        engine.wait(1.0)
        before = sum(one.figures.now().frames for one in engine.cameras)
        started_s = time.monotonic()
        engine.wait(seconds)
        frames = sum(one.figures.now().frames for one in engine.cameras) - before
        return frames / (time.monotonic() - started_s)
    finally:
        engine.close()


def start_s(opened: Any, image: np.ndarray, model: str) -> float:
    """Seconds from the command to the first frame in a browser that is open; the camera sends JPEG over HTTP."""
    with jpeg_sender({"video": [image]}, 30) as host, tempfile.TemporaryFile("w+") as said:
        page = opened.new_page()
        started_s = time.monotonic()
        command = [
            sys.executable,
            "-m",
            "realtime",
            "serve",
            "--device",
            f"{host}/video",
            "--port",
            "0",
            "--model",
            model,
        ]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=said, text=True)
        try:
            assert process.stderr is not None
            while "serving at " not in (line := process.stderr.readline()):
                if not line:
                    raise RuntimeError("the server ended")
            page.goto(line.split("serving at ")[1].split()[0])
            page.wait_for_selector(".tile[data-frame]")
            return time.monotonic() - started_s
        finally:
            page.close()
            process.kill()
            process.communicate()


def table(report: dict[str, Any]) -> str:
    """The figures as an aligned table."""
    lines = [f"{'':<10}{'p50 ms':>10}{'p95 ms':>10}{'marks':>12}{'frames/s':>10}{'apart':>8}{'share':>8}"]
    for way, row in report["browser"].items():
        p50, p95 = MARKS_MS[way]
        lines.append(
            f"{way:<10}{row['p50_ms']['median']:>10.1f}{row['p95_ms']['median']:>10.1f}{f'{p50:.0f}, {p95:.0f}':>12}"
            f"{row['frames_per_s']['median']:>10.1f}{row['apart_frames']['median']:>8.0f}{row['apart_share']['median']:>8.0%}"
        )
    cameras = report["cameras"]
    lines.append(
        f"one camera {cameras['alone']['median']:.1f} frames/s, {MANY} together {cameras['together']['median']:.1f}: "
        f"{cameras['share']['median']:.2f} (mark 0.95)"
    )
    lines.append(f"command to first frame in the browser {report['start_s']['median']:.2f} s (mark 3)")
    width, height = report["frame_wh"]
    setting = f"{width}x{height}, {report['rounds']} runs of {report['seconds']:g} s each, {report['model']}"
    return "\n".join([*lines, f"{machine.named(report['machine'])}; {setting}, --reach {report['reach']}"])


if __name__ == "__main__":
    typer.run(measure)
