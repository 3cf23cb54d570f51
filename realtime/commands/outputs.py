"""Where the results of a run go: the files that are opened for it, and what they must not be."""

import math
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from realtime.atomic_files import partial_path
from realtime.errors import SinkError
from realtime.file_names import DASH
from realtime.sources.decode_errors import DecodeErrors

if TYPE_CHECKING:
    from realtime.drawing.hiding import Hiding
    from realtime.sinks.audio import Audio
    from realtime.sinks.base import Sink
    from realtime.sinks.encoding import Encoding
    from realtime.sources.base import FrameSource
    from realtime.sources.video_file import VideoFileSource


COARSE_S = Fraction(1, 1000)
"""Rounding to a unit of time longer than this can be seen."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """Where the results of a run go."""

    window: bool
    video: Path | None
    jsonl: Path | None
    csv: Path | None = None
    crops: Path | None = None
    captures: Path = Path()
    """Folder of what the window's keys save."""
    original: "VideoFileSource | None" = None
    """The file that the frames come from: its sound, beginning and shape of pixels go into the video."""
    encoding: "Encoding | None" = None
    """Of the video; by default that of its kind of file."""
    audio_errors: DecodeErrors = field(default_factory=DecodeErrors)
    """Counts what of the original's audio could not be copied into the video."""
    progress: str | None = None
    """Name under which the progress of ``original`` is shown; None for none."""

    @property
    def files(self) -> list[Path]:
        """The files and folders that are written from beginning to end."""
        return [path for path in (self.video, self.jsonl, self.csv, self.crops) if path is not None]

    def open(self, source: "FrameSource") -> list["Sink"]:
        """Open all files; if one fails, close those before it."""
        from realtime.sinks.base import Ending
        from realtime.sinks.jsonl import JsonLinesSink

        sinks: list[Sink] = []
        with ExitStack() as opened:
            if self.jsonl:
                sinks.append(JsonLinesSink(self.jsonl))
                opened.callback(sinks[-1].close, Ending.FAILED)
            if self.csv:
                from realtime.sinks.csv_file import CsvSink

                sinks.append(CsvSink(self.csv))
                opened.callback(sinks[-1].close, Ending.FAILED)
            if self.crops:
                from realtime.sinks.crops import CropsSink

                sinks.append(CropsSink(self.crops))
                opened.callback(sinks[-1].close, Ending.FAILED)
            if self.video:
                from realtime.sinks.video_file import VideoFileSink

                sinks.append(
                    VideoFileSink(
                        self.video,
                        size_wh=source.size_wh,
                        frame_rate=source.frame_rate,
                        **{"time_base": source.time_base} | self._kept(),
                    )
                )
            if self.progress and self.original:
                from realtime.sinks.progress import ProgressSink

                sinks.append(
                    ProgressSink(self.progress, origin_s=self.original.origin_s, length_s=self.original.length_s)
                )
            opened.pop_all()
        return sinks

    def _kept(self) -> dict[str, Any]:
        """What the video has from the original, as arguments of ``VideoFileSink``."""
        chosen = {"encoding": self.encoding} if self.encoding else {}
        if self.original is None:
            return chosen
        path = self.original.path
        chosen |= of_original(self.original)
        if not path.is_file():
            if not self.original.has_audio:
                return chosen
            raise SinkError(
                f"cannot write {self.video}: the sound is read separately, and {path} is a pipe, read only once",
                value=self.video,
                remedy="save the video to a file first",
            )
        return chosen | {"audio": audio_of(path, self.original, self.audio_errors)}


class Span(Protocol):
    """A video, or the part of it that is wanted."""

    @property
    def origin_s(self) -> float:
        """Timestamp of its beginning."""

    @property
    def end_s(self) -> float:
        """Timestamp of its end; infinite for that of the file."""

    @property
    def is_part(self) -> bool:
        """Whether it begins after the beginning of the file."""

    @property
    def time_base(self) -> Fraction:
        """Unit of its timestamps in seconds."""

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel by its height."""


def of_original(span: Span) -> dict[str, Any]:
    """What a drawn video has from the original, as arguments of ``VideoFileSink``."""
    from realtime.sources.base import LIVE_TIME_BASE

    # In AVI, which counts frames, a part may begin between two.
    time_base = LIVE_TIME_BASE if span.is_part and span.time_base > COARSE_S else span.time_base
    return {"origin_s": span.origin_s, "pixel_aspect": span.pixel_aspect, "time_base": time_base}


def audio_of(path: Path, span: Span, errors: "DecodeErrors") -> "Audio":
    """The sound of a video; what of it cannot be copied is counted in ``errors``."""
    from realtime.sinks.audio import Audio

    return Audio(path, span.origin_s if span.is_part else -math.inf, span.end_s, errors)


def check_places(outputs: Mapping[str, Path]) -> None:
    """See whether outputs, by parameter, can be written.

    Raises:
        SinkError: one cannot.
    """
    from realtime.sinks.base import Ending
    from realtime.sinks.crops import CropsSink

    for parameter, path in outputs.items():
        if parameter == "crops":
            CropsSink(path).close(Ending.FAILED)
        else:
            partial_path(path).unlink()


def check_outputs(*outputs: Path | None, originals: Iterable[Path] = ()) -> None:
    """Refuse one file for two outputs, an output that is one of the inputs, and one that lies in another.

    Raises:
        SinkError: a path is in two places.
    """
    inputs = {original.resolve() for original in originals}
    taken: set[Path] = set()
    # Standard output is no file, though there may be one of that name.
    paths = {path: path if path == DASH else path.resolve() for path in outputs if path is not None}
    for path in filter(None, outputs):
        resolved = paths[path]
        if resolved in taken:
            raise SinkError(f"cannot write {path}: it is given for two outputs", value=path)
        if resolved in inputs:
            raise SinkError(f"cannot write {path}: it is the input itself", value=path, remedy="choose another name")
        taken.add(resolved)
    for path, resolved in paths.items():
        if around := taken.intersection(resolved.parents):
            raise SinkError(f"cannot write {path}: it would lie in {around.pop()}, which is another output", value=path)


def check_hiding(hiding: "Hiding | None", crops: Path | None, *, shown: bool) -> None:
    """Refuse to hide what is written elsewhere to be seen, or what nobody sees.

    Raises:
        SinkError: ``--blur`` or ``--hide`` with ``--crops``, or without an image, which ``shown`` says.
    """
    if hiding and crops:
        message = f"crops are readable, and --{hiding.parameter} hides {hiding.classes}"
        raise SinkError(message, parameter="crops", value=crops, remedy="choose one of them")
    if hiding and not shown:
        message = "no image is written that it would be hidden in"
        raise SinkError(message, parameter=hiding.parameter, value=hiding.value, remedy="add one or leave it out")
