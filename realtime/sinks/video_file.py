"""Video files, encoded by PyAV (FFmpeg): by default H.264 that plays in a browser, with the audio of the original."""

import math
from fractions import Fraction
from pathlib import Path
from typing import cast

import cv2
import numpy as np

from realtime.atomic_files import partial_path
from realtime.errors import SinkError
from realtime.ffmpeg import av, file_address
from realtime.letterbox import Letterbox
from realtime.results import Result
from realtime.sinks.audio import Audio, AudioTracks
from realtime.sinks.base import ClosingSink, Ending
from realtime.sinks.encoding import Encoding, choose, container_of

BT709 = 1
"""Number of Rec. ITU-R BT.709 in H.264's tables of colour spaces, primaries and transfer functions."""
BLACK = 0
"""Border of frames whose size is not that of the file."""


class VideoFileSink(ClosingSink):
    """Writes the drawn frames at the timestamps of the original."""

    needs_canvas = True
    is_slow = True

    def __init__(
        self,
        path: Path,
        *,
        size_wh: tuple[int, int],
        frame_rate: Fraction,
        time_base: Fraction,
        audio: Audio | None = None,
        origin_s: float = 0.0,
        pixel_aspect: Fraction = Fraction(1),
        encoding: Encoding = Encoding(),  # noqa: B008 - frozen
    ) -> None:
        """Start a file, which appears under its name when it is complete.

        Args:
            path: its suffix chooses the container, one of ``encoding.CONTAINERS``.
            size_wh: width and height in pixels of the frames. Odd sides gain a pixel, since 4:2:0 needs even ones.
            frame_rate: nominal frames per second.
            time_base: unit of the timestamps in seconds.
            audio: copied into the file; None for none.
            origin_s: timestamp of the frames that becomes 0 in the file.
            pixel_aspect: width of a pixel by its height.
            encoding: codec and quality.

        Raises:
            SinkError: the container or codec is unknown, or the file cannot be written.
        """
        container_format = container_of(path)
        codec, codec_options = choose(path, encoding)
        self._path = path
        self._partial = partial_path(path)
        self._last_pts = -1
        self._time_base = time_base
        self._origin_s = origin_s
        self._closed = False
        self._reformatter = av.video.reformatter.VideoReformatter()
        self._fit = Letterbox((size_wh[0] + size_wh[0] % 2, size_wh[1] + size_wh[1] % 2), BLACK)
        try:
            options = {} if container_format in {"matroska", "webm"} else {"movflags": "+faststart"}
            self._container = av.open(file_address(self._partial), "w", format=container_format, options=options)
            stream = self._container.add_stream(codec.encoder, rate=frame_rate, options=codec_options)
            self._stream = cast("av.VideoStream", stream)
            self._stream.width, self._stream.height = (side + side % 2 for side in size_wh)
            self._stream.pix_fmt = "yuv420p"
            context = self._stream.codec_context
            context.time_base = time_base
            context.sample_aspect_ratio = pixel_aspect
            # Players guess untagged colours differently.
            context.colorspace = context.color_primaries = context.color_trc = BT709
            context.color_range = av.video.reformatter.ColorRange.MPEG
            if codec.encoder == "libx265" and container_format in {"mp4", "mov"}:
                context.codec_tag = "hvc1"  # Apple's players accept no other
            self._audio = AudioTracks(audio, self._container, origin_s=origin_s) if audio else None
        except (av.FFmpegError, OSError, ValueError) as error:
            self._partial.unlink(missing_ok=True)
            raise SinkError(f"cannot write {path}: {getattr(error, 'strerror', None) or error}", value=path) from error

    def write(self, result: Result) -> None:
        """Encode one frame.

        Raises:
            SinkError: the encoder or the disk refused it.
        """
        canvas, pts_s = result.canvas, result.frame.pts_s - self._origin_s
        width, height = self._stream.width, self._stream.height
        if canvas.shape[:2] != (height, width):
            pad_h, pad_w = height - canvas.shape[0], width - canvas.shape[1]
            if 0 <= pad_h <= 1 and 0 <= pad_w <= 1:
                canvas = cv2.copyMakeBorder(canvas, 0, pad_h, 0, pad_w, cv2.BORDER_REPLICATE)
            else:  # the source has changed its size, which a file cannot
                canvas = self._fit(canvas)[0][0]
        frame = self._as_yuv(canvas)
        # Timestamps of damaged files may repeat or go back; the encoder needs increasing ones.
        self._last_pts = max(round(pts_s / self._time_base), self._last_pts + 1)
        frame.pts, frame.time_base = self._last_pts, self._time_base
        try:
            self._mux(frame)
            if self._audio:
                self._audio.copy_until(pts_s)
        except (av.FFmpegError, OSError) as error:
            raise SinkError(f"cannot write {self._path}: {error.strerror or error}", value=self._path) from error

    def close(self, ending: Ending) -> None:
        """Finish the file and move it into place, or remove it if the run failed or had no frame."""
        if self._closed:
            return
        self._closed = True
        keep = ending is not Ending.FAILED and self._last_pts >= 0
        try:
            if keep:
                self._mux(None)
                if self._audio:
                    # Audio may outlast the video; after a stopped run it ends with the last frame.
                    end_s = math.inf if ending is Ending.COMPLETE else float(self._last_pts * self._time_base)
                    self._audio.copy_until(end_s)
            self._container.close()
            if keep:
                self._partial.replace(self._path)
        except (av.FFmpegError, OSError) as error:
            if keep:
                raise SinkError(f"cannot write {self._path}: {error.strerror or error}", value=self._path) from error
        finally:
            if self._audio:
                self._audio.close()
            self._partial.unlink(missing_ok=True)

    def _as_yuv(self, canvas: np.ndarray) -> av.VideoFrame:
        # In this thread alone: on cores that run an encoder and a detector, waiting for several threads takes longer.
        # One converter for all frames, since it takes time to set up.
        frame = av.VideoFrame.from_numpy_buffer(np.ascontiguousarray(canvas), format="bgr24")
        to_709 = av.video.reformatter.Colorspace.ITU709
        return self._reformatter.reformat(frame, format="yuv420p", dst_colorspace=to_709, threads=1)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            self._container.mux(packet)
