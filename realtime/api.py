"""The public API: a detector for images, and the results of a video, a camera or a network stream."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from realtime.controls import Controls
from realtime.formatting import listed
from realtime.image_arrays import as_bgr
from realtime.image_io import read_image
from realtime.inference.cores import file_concurrency
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.regions.tiles import Reach
from realtime.result_stream import ResultStream
from realtime.results import Result
from realtime.sources.base import FrameSource
from realtime.sources.opening import CameraMode, open_live
from realtime.sources.stream import StreamOptions
from realtime.sources.video_file import VideoFileSource
from realtime.stills import detect_still, with_reach
from realtime.structures import check_threshold

ProviderName = Literal["auto", "cpu", "cuda", "tensorrt"]


class Detector:
    """Finds faces and their features in images.

    A detector on the CPU may be called from several threads at once. On a GPU it belongs to the thread that made it, as
    a recorded CUDA graph does: call it from that thread only.

    Example:
        >>> detector = Detector("nano")
        >>> result = detector("photo.jpg")
        >>> [face.id for face in result.faces]
        [1]
    """

    def __init__(
        self,
        model: str | Path = "nano",
        *,
        provider: ProviderName = "auto",
        threshold: float | None = None,
        reach: str = "auto",
    ) -> None:
        """Load a model.

        Args:
            model: the name of a model that comes with the app (``pico``, ``nano``, ``mobile``), or the path of an ONNX
                file that ``realtime export onnx`` wrote.
            provider: where to run: ``auto`` prefers CUDA and falls back to the CPU, see ``fallback_reason``; the others
                never fall back.
            threshold: minimum score of a detection, 0..1; by default the model's own.
            reach: how far to look for faces. ``near`` looks at the whole image or frame once; ``auto`` and ``far`` also
                look at tiles of it and at close-ups of small faces; ``3x2`` at that many tiles. In videos, ``auto``
                leaves most tiles to other frames; of a live source, at most one look a frame is added.

        Raises:
            ModelError: there is no such model, or the file is damaged.
            ProviderError: the provider does not work here.
            RegionError: an unknown reach.
            ValueError: an unknown provider, or a threshold outside of 0..1.
        """
        if threshold is not None:
            check_threshold(threshold)
        self.reach = Reach.parse(reach)
        """How far to look for faces."""
        self._model = find_model(str(model))
        self._network = OnnxDetector(self._model, provider=_provider(provider))
        self._stills = with_reach(self._network, self.reach)
        self._file_network: OnnxDetector | None = None
        self.threshold = self._network.metadata.threshold if threshold is None else threshold
        """Minimum score of a detection, 0..1."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes by label."""
        return self._network.metadata.class_names

    @property
    def provider(self) -> str:
        """Where the network runs: ``cpu``, ``cuda`` or ``tensorrt``."""
        return self._network.provider.value

    @property
    def fallback_reason(self) -> str | None:
        """Why ``auto`` chose the CPU; None where it did not."""
        return self._network.fallback_reason

    def __call__(self, image: str | Path | np.ndarray | Any) -> Result:
        """Detect in one image.

        Args:
            image: the path of an image file, whose EXIF orientation is applied; an array (H,W,3) BGR, (H,W) grey or
                (H,W,4) BGRA, of uint8, uint16 or floats 0..1; or a PIL image.

        Returns:
            What was found, boxes in pixels of the image.

        Raises:
            SourceError: the file is missing, no image, or cut short.
            ImageError: the array is no image.
        """
        if isinstance(image, str | Path):
            return detect_still(self._stills, read_image(Path(image)), self.threshold, Path(image))
        return detect_still(self._stills, as_bgr(image), self.threshold)

    def _network_for(self, source: FrameSource) -> OnnxDetector:
        """For a file on the CPU, a network that detects in several frames at once; else the one on all cores."""
        if source.is_live or self._network.provider is not Provider.CPU or self._network.max_batch > 1:
            return self._network
        if self._file_network is None:
            self._file_network = OnnxDetector(self._model, provider=Provider.CPU, concurrency=file_concurrency())
        return self._file_network


def _provider(name: str) -> Provider:
    try:
        return Provider(name)
    except ValueError:
        raise ValueError(f"expected a provider of {listed([one.value for one in Provider])}, found '{name}'") from None


class Stream:
    """The results of a video, a camera or a network stream: an iterator and a context manager.

    Leaving it, by the end of a ``with`` block, ``close`` or losing the last reference, ends its threads and closes the
    source.
    """

    def __init__(self, source: FrameSource, detector: Detector, *, raw: bool = False) -> None:
        """Use ``stream`` in place of this."""
        self.size_wh = source.size_wh
        """Width and height in pixels of the frames when the source was opened."""
        self.frame_rate = source.frame_rate
        """Nominal frames per second, a ``Fraction``."""
        network = detector._network_for(source)  # noqa: SLF001 - of this module
        self._results = ResultStream(source, network, Controls(detector.threshold), raw=raw, reach=detector.reach)
        self._iterator = self._results.results()

    def __iter__(self) -> Iterator[Result]:
        return self

    def __next__(self) -> Result:
        """The result of the next frame.

        Raises:
            SourceError: the source broke.
            ModelError: the network failed.
        """
        try:
            return next(self._iterator)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Stream":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_results"):
            self.close()

    def close(self) -> None:
        """End the threads and close the source. May be called twice."""
        self._results.close()

    @property
    def dropped(self) -> int:
        """Frames of a live source that newer ones replaced before they were looked at."""
        return self._results.dropped


def stream(
    source: str | Path | int,
    detector: Detector | None = None,
    *,
    raw: bool = False,
    start_s: float = 0.0,
    duration_s: float | None = None,
    on_message: Callable[[str], None] | None = None,
) -> Stream:
    """Detect and track faces in a video, a camera or a network stream.

    Of a file, no frame is lost, and several are detected at once. Of a live source, only the newest frame is looked at,
    and a network stream that breaks is opened again.

    Args:
        source: the path of a video file; the number of a camera, or its device file (``/dev/video0``); or the address
            of a stream (``rtsp://…``).
        detector: finds faces and features, as far as its ``reach``; by default ``Detector()``.
        raw: leave boxes and scores as the detector gives them, neither smoothed nor continued through weak frames.
        start_s: seconds of a file to skip.
        duration_s: seconds of a file to read; by default all.
        on_message: called with a line when a live source breaks or comes back; by default it goes to the logger
            ``realtime`` as a warning.

    Raises:
        SourceError: the source cannot be opened.
        TypeError: ``source`` is neither a path or address nor a number.
        ValueError: a part is asked for of a live source.

    Example:
        >>> with stream("in.mp4") as results:
        ...     for result in results:
        ...         print(result.frame.pts_s, len(result.faces))
    """
    if not isinstance(source, str | Path | int):
        raise TypeError(f"expected a source as a path, an address or a camera's number, found {type(source).__name__}")
    detector = detector or Detector()
    opened = _open(source, start_s, duration_s, on_message or logging.getLogger("realtime").warning)
    return Stream(opened, detector, raw=raw)


def _open(
    source: str | Path | int, start_s: float, duration_s: float | None, on_message: Callable[[str], None]
) -> FrameSource:
    name = str(source)
    is_live = isinstance(source, int) or name.isdecimal() or name.startswith("/dev/") or "://" in name
    if not is_live:
        return VideoFileSource(Path(name), start_s=start_s, duration_s=duration_s)
    if start_s or duration_s is not None:
        raise ValueError(f"start_s and duration_s are for files; '{name}' is live")
    return open_live(name, mode=CameraMode(), stream=StreamOptions(), reconnect=None, on_message=on_message)
