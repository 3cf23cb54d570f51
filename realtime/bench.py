"""Benchmark of the whole app on this machine: every stage timed while the pipeline runs."""

import platform
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from realtime.controls import Controls
from realtime.detector import OnnxDetector
from realtime.pipeline import Pipeline
from realtime.sinks.video_file import VideoFileSink
from realtime.sources.synthetic import SyntheticSource
from realtime.sources.video_file import VideoFileSource
from realtime.stats import RunStats
from realtime.stopping import StopRequests

WARM_UP_RUNS = 5
DEFAULT_SIZE_WH = (1280, 720)


def run_benchmark(
    detector: OnnxDetector, *, video: Path | None, max_frames: int, threshold: float, requests: StopRequests
) -> tuple[RunStats, dict[str, Any]]:
    """Run the pipeline of ``realtime video``, encoder included, on a file or on made 1280x720 pictures.

    Returns:
        The statistics, and the same with the circumstances as plain JSON values; of the frames until then, if a
        stop was requested.

    Raises:
        RealtimeError: the video cannot be read.
    """
    source = VideoFileSource(video) if video else SyntheticSource(DEFAULT_SIZE_WH, max_frames)
    _warm_up(detector, source.size_wh)
    with tempfile.TemporaryDirectory() as folder:
        sink = VideoFileSink(
            Path(folder) / "out.mp4",
            size_wh=source.size_wh,
            frame_rate=source.frame_rate,
            time_base=source.time_base,
            sound=None,
        )
        pipeline = Pipeline(source, detector, [sink], Controls(threshold))
        requests.call(pipeline.stop)
        stats = pipeline.run(max_frames=max_frames)
    report = {
        "frames_per_s": round(stats.frames_per_s, 2),
        **asdict(stats),
        "frame_wh": source.size_wh,
        "input_wh": detector.metadata.input_wh,
        "architecture": detector.metadata.architecture,
        "provider": detector.provider.value,
        "onnxruntime": ort.__version__,
        "machine": f"{platform.system()} {platform.machine()}",
    }
    return stats, report


def table(stats: RunStats) -> str:
    """The statistics as an aligned text table."""
    rows = [f"{'stage':<12}{'p50':>9}{'p95':>9}{'p99':>9}  milliseconds"]
    rows += [
        f"{name:<12}" + "".join(f"{ms[p]:>9.2f}" for p in ("p50", "p95", "p99")) for name, ms in stats.stages_ms.items()
    ]
    return "\n".join([*rows, f"{stats.frames} frames in {stats.wall_s:.2f} s: {stats.frames_per_s:.1f} frames/s"])


def _warm_up(detector: OnnxDetector, size_wh: tuple[int, int]) -> None:
    picture = np.zeros((size_wh[1], size_wh[0], 3), np.uint8)
    for _ in range(WARM_UP_RUNS):
        detector.detect(picture)
