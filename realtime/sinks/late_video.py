"""A video file of a camera whose frames have not come yet."""

from fractions import Fraction
from pathlib import Path

from realtime.errors import SinkError
from realtime.results import Result
from realtime.sinks.base import ClosingSink, Ending
from realtime.sinks.encoding import Encoding, choose, container_of
from realtime.sinks.video_file import VideoFileSink
from realtime.sources.base import LIVE_TIME_BASE, UNKNOWN_FRAME_RATE


class LateVideoSink(ClosingSink):
    """Begins its file with the first frame, whose size the file gets."""

    needs_canvas = True
    is_slow = True

    def __init__(self, path: Path) -> None:
        """Check what can be checked without a frame.

        Raises:
            SinkError: the container is unknown, or there is no such folder.
        """
        container_of(path)
        choose(path, Encoding())
        if not path.parent.is_dir():
            raise SinkError(f"cannot write {path}: folder does not exist", value=path)
        self._path = path
        self._file: VideoFileSink | None = None

    def write(self, result: Result) -> None:
        """Encode one frame.

        Raises:
            SinkError: the file cannot be written.
        """
        if self._file is None:
            height, width = result.canvas.shape[:2]
            self._file = VideoFileSink(
                self._path,
                size_wh=(width, height),
                frame_rate=Fraction(UNKNOWN_FRAME_RATE),
                time_base=LIVE_TIME_BASE,
                origin_s=result.frame.pts_s,
            )
        self._file.write(result)

    def close(self, ending: Ending) -> None:
        """Finish the file, if there is one."""
        if self._file:
            self._file.close(ending)
