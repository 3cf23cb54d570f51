"""The packets of a video file on one clock, from a time on, past what cannot be read."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

from realtime.errors import SourceError
from realtime.ffmpeg import av
from realtime.inference.cores import core_limit
from realtime.sources.container import has_timestamps, open_container, stated_rate, video_stream
from realtime.sources.joins import OneClock, Packet

DEFAULT_FRAME_RATE = Fraction(25)
WRONG_AFTER_SEEKING = frozenset({"mxf"})
"""Kinds of file whose timestamps FFmpeg gives one frame off after it has sought in them."""
MAX_FAILURES = 100
"""Reads in a row that may fail before the rest of a file is given up."""


class Demuxer:
    """Reads a file's packets of video and audio.

    The frames of a file and its audio are read by a demuxer each, so that they need not be read in step.
    """

    def __init__(self, path: Path, on_error: Callable[[], None]) -> None:
        """Open a file.

        Args:
            path: of the video.
            on_error: called when a packet cannot be read; what follows it is read.

        Raises:
            SourceError: the file is missing, or FFmpeg cannot read it.
        """
        self._path = path
        self._on_error = on_error
        self._open()

    def _open(self) -> None:
        self.container = open_container(self._path)
        self.has_timestamps = has_timestamps(self.container)
        self._video: av.VideoStream | SourceError
        try:
            self._video = video_stream(self.container, self._path)
            self._video.thread_type = "AUTO"
            self._video.codec_context.thread_count = core_limit()  # 0: one for each core
        except SourceError as error:  # audio alone can be read
            self._video = error

    @property
    def video(self) -> av.VideoStream:
        """The stream of the frames.

        Raises:
            SourceError: there is none that can be decoded.
        """
        if isinstance(self._video, SourceError):
            raise self._video
        return self._video

    @property
    def frame_rate(self) -> Fraction:
        """Nominal frames per second of the video.

        Raises:
            SourceError: there is none that can be decoded.
        """
        return stated_rate(self.container, self.video) or DEFAULT_FRAME_RATE

    @property
    def can_seek(self) -> bool:
        """Whether a time in the file is found by FFmpeg.

        False for pipes, and for kinds of file in which timestamps may start again, as in joined recordings: the time
        of a place is then known to those alone who have read all before it.
        """
        return (
            self.has_timestamps
            and self._path.is_file()
            and self.container.format.name not in WRONG_AFTER_SEEKING
            and av.format.Flags.ts_discont not in av.format.Flags(self.container.format.flags)
        )

    def seek(self, time_s: float, stream: "av.stream.Stream | None" = None) -> None:
        """Continue near a time before ``time_s``, perhaps after it: some files have poor indices.

        Raises:
            av.FFmpegError: the file cannot be sought in.
            OverflowError: no file has this time.
        """
        if stream is None or not stream.time_base:
            self.container.seek(int(time_s * av.time_base))
        else:
            self.container.seek(int(time_s / stream.time_base // 1), stream=stream)

    def rewind(self) -> None:
        """Continue at the beginning."""
        self.container.close()
        self._open()

    def packets(self) -> Iterator[Packet]:
        """The packets from here on, in the order of the file, without empty ones."""
        if isinstance(self._video, SourceError):
            return self._read()
        return iter(OneClock(self._read(), self._video, 1 / self.frame_rate))

    def close(self) -> None:
        """Close the file."""
        self.container.close()

    def _read(self) -> Iterator[Packet]:
        streams: list[av.stream.Stream] = [s for s in self.container.streams.audio if s.codec_context is not None]
        if not isinstance(self._video, SourceError):
            streams.append(self._video)
        failures, is_at_end = 0, False
        while failures < MAX_FAILURES and not is_at_end:
            try:
                for packet in self.container.demux(streams):
                    failures = 0
                    if packet.size:
                        yield packet
                is_at_end = True
            except (av.FFmpegError, OSError):
                failures += 1
                self._on_error()
