"""Benchmark of the whole app on this machine: the time of every stage while the pipeline runs."""

import platform
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from realtime.controls import Controls
from realtime.inference.detector import OnnxDetector
from realtime.pipeline import Pipeline
from realtime.regions.tiles import Reach
from realtime.sinks.video_file import VideoFileSink
from realtime.sources.synthetic import SyntheticSource
from realtime.sources.video_file import VideoFileSource
from realtime.stats import RunStats
from realtime.stopping import StopRequests

WARM_UP_RUNS = 5
LIVE_FRAMES = 200
DEFAULT_SIZE_WH = (1280, 720)


def run_benchmark(
    batch: OnnxDetector,
    live: OnnxDetector,
    *,
    video: Path | None,
    max_frames: int,
    threshold: float,
    reach: Reach,
    requests: StopRequests,
) -> tuple[RunStats, dict[str, Any]]:
    """Run the pipeline of ``realtime video``, with its encoder, on a file or on synthetic 1280x720 frames.

    Then run the same frames as if from a camera: one at a time, and nothing is written.

    Args:
        batch: the detector, opened as for files.
        live: the same model, opened as for cameras.
        video: file to read; None for synthetic frames.
        max_frames: how many frames to run at most; as from a camera, at most ``LIVE_FRAMES`` of them.
        threshold: minimum score.
        reach: how far to look for faces.
        requests: stops the runs.

    Returns:
        The statistics, and a report of them and the configuration as plain JSON values. After a stop they cover the
        frames until then.

    Raises:
        RealtimeError: the video cannot be read.
    """

    def run(pipeline: Pipeline, frames: int) -> RunStats:
        requests.call(pipeline.stop)
        return pipeline.run(max_frames=frames)

    source = VideoFileSource(video) if video else SyntheticSource(DEFAULT_SIZE_WH, max_frames)
    _warm_up(batch, source.size_wh)
    with tempfile.TemporaryDirectory() as folder:
        sink = VideoFileSink(
            Path(folder) / "out.mp4",
            size_wh=source.size_wh,
            frame_rate=source.frame_rate,
            time_base=source.time_base,
            audio=None,
        )
        stats = run(Pipeline(source, batch, [sink], Controls(threshold), reach=reach), max_frames)
    report = {
        "frames_per_s": round(stats.frames_per_s, 2),
        **asdict(stats),
        "live": None,
        "frame_wh": source.size_wh,
        "input_wh": batch.metadata.input_wh,
        "architecture": batch.metadata.architecture,
        "provider": batch.provider.value,
        "concurrency": batch.concurrency,
        "max_batch": batch.max_batch,
        "onnxruntime": ort.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
    if requests.exit_code is None:
        again = VideoFileSource(video) if video else SyntheticSource(DEFAULT_SIZE_WH, max_frames)
        _warm_up(live, source.size_wh)
        as_live = Pipeline(again, live, [], Controls(threshold), reach=reach, on_idle=lambda: None)
        alone = run(as_live, min(max_frames, LIVE_FRAMES))
        if alone.frames:  # none if it was stopped before the first
            report["live"] = {"frames_per_s": round(alone.frames_per_s, 2), "stages_ms": alone.stages_ms}
    return stats, report


def table(stats: RunStats, report: dict[str, Any]) -> str:
    """The statistics as an aligned text table."""
    rows = [f"{'stage':<12}{'p50':>9}{'p95':>9}{'p99':>9}  milliseconds"]
    rows += [
        f"{name:<12}" + "".join(f"{ms[p]:>9.2f}" for p in ("p50", "p95", "p99")) for name, ms in stats.stages_ms.items()
    ]
    at_a_time = f", {report['concurrency']} at a time" if report["concurrency"] > 1 else ""
    at_a_time += f", up to {report['max_batch']} images in a run" if report["max_batch"] > 1 else ""
    rows.append(f"{stats.frames} frames{at_a_time}, in {stats.wall_s:.2f} s: {stats.frames_per_s:.1f} frames/s")
    if report["live"]:
        infer_ms = report["live"]["stages_ms"]["infer"]
        rows.append(
            f"one at a time, as from a camera: {report['live']['frames_per_s']:.1f} frames/s, inference "
            f"{infer_ms['p50']:.1f} ms (p95 {infer_ms['p95']:.1f})"
        )
    return "\n".join(rows)


def _warm_up(detector: OnnxDetector, size_wh: tuple[int, int]) -> None:
    image = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for _ in range(WARM_UP_RUNS):
        detector.detect(image)
