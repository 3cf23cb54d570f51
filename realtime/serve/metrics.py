"""Figures for Prometheus."""

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from realtime.cameras.camera import Camera, State
from realtime.serve.streams import CameraStreams

AGE_BUCKETS_S = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5)
INFER_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1)
Rows = Callable[[], Iterable[tuple[str, Camera, CameraStreams]]]


class Metrics:
    """One registry for one server."""

    content_type = "text/plain; version=0.0.4; charset=utf-8"

    def __init__(self, cameras: Rows) -> None:
        """``cameras``: those that are there when the figures are asked for, each with the name that it has here."""
        self._registry = CollectorRegistry()
        self._age = Histogram(
            "realtime_frame_age_seconds", "From the capture of a frame to its result", ["camera"],
            buckets=AGE_BUCKETS_S, registry=self._registry,
        )  # fmt: skip
        self._infer = Histogram(
            "realtime_inference_seconds", "Time of the network for a frame", ["camera"],
            buckets=INFER_BUCKETS_S, registry=self._registry,
        )  # fmt: skip
        self._requests = Counter(
            "realtime_http_requests", "Answered requests", ["method", "status"], registry=self._registry
        )
        self._registry.register(_CameraFigures(cameras))

    def frame(self, camera: str, age_s: float, infer_s: float) -> None:
        """A frame has its result."""
        self._age.labels(camera).observe(age_s)
        self._infer.labels(camera).observe(infer_s)

    def request(self, method: str, status: int) -> None:
        """A request was answered."""
        known = method if method in {"GET", "HEAD", "POST"} else "other"
        self._requests.labels(known, str(status)).inc()

    def text(self) -> bytes:
        """All figures in the text format."""
        return generate_latest(self._registry)


class _CameraFigures(Collector):
    """Reads the cameras' own figures when they are asked for."""

    def __init__(self, cameras: Rows) -> None:
        self._cameras = cameras

    def collect(self) -> Iterator[Metric]:
        frames = CounterMetricFamily("realtime_frames", "Frames with a result", labels=["camera"])
        dropped = CounterMetricFamily(
            "realtime_frames_dropped", "Frames that newer ones replaced before detection", labels=["camera"]
        )
        seen = CounterMetricFamily("realtime_faces_seen", "Different faces", labels=["camera"])
        faces = GaugeMetricFamily("realtime_faces", "Faces in the latest frame", labels=["camera"])
        up = GaugeMetricFamily("realtime_camera_up", "1 while frames come", labels=["camera"])
        viewers = GaugeMetricFamily("realtime_viewers", "Viewers", labels=["camera", "format"])
        encoded = CounterMetricFamily("realtime_frames_encoded", "Encoded frames", labels=["camera", "format"])
        for name, camera, streams in self._cameras():
            figures = camera.figures.now()
            frames.add_metric([name], figures.frames)
            dropped.add_metric([name], figures.dropped)
            seen.add_metric([name], figures.faces_seen)
            faces.add_metric([name], figures.faces)
            up.add_metric([name], float(camera.state is State.LIVE))
            for video_format, number in streams.viewers().items():
                viewers.add_metric([name, video_format], number)
            for video_format, number in streams.encoded().items():
                encoded.add_metric([name, video_format], number)
        yield from (frames, dropped, seen, faces, up, viewers, encoded)
