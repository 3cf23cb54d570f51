"""Damages a video in many ways and takes each through source and sink; run as a program, since a decoder may crash.

    python fuzz_videos.py VIDEO FOLDER FIRST_SEED LAST_SEED

One line a seed: what became of it. Anything but a line of the app's own errors ends the program with a traceback.
"""

import random
import sys
from pathlib import Path

from realtime.errors import RealtimeError
from realtime.results import Result
from realtime.sinks.audio import Audio
from realtime.sinks.base import Ending
from realtime.sinks.video_file import VideoFileSink
from realtime.sources.video_file import VideoFileSource
from realtime.structures import Detections

HEAD_BYTES = 4096


def damaged(data: bytes, seed: int) -> bytes:
    """Flipped bits: few or many, anywhere or in the head alone; every fifth file is cut off as well."""
    rng = random.Random(seed)
    result = bytearray(data)
    reach = HEAD_BYTES if seed % 2 else len(result)
    for _ in range(rng.choice((1, 10, 100, 1000))):
        at = rng.randrange(reach)
        result[at] ^= 1 << rng.randrange(8)
    return bytes(result[: rng.randrange(len(result))] if seed % 5 == 0 else result)


def copy(path: Path, out: Path) -> str:
    """Take a video through source and sink; returns what was lost."""
    source, audio = VideoFileSource(path), Audio(path)
    sink = VideoFileSink(
        out, size_wh=source.size_wh, frame_rate=source.frame_rate, time_base=source.time_base,
        audio=audio, origin_s=source.origin_s,
    )  # fmt: skip
    frames, ending = 0, Ending.FAILED
    try:
        while (frame := source.read()) is not None:
            sink.write(Result(frame, Detections.empty(), frame.image))
            frames += 1
        ending = Ending.COMPLETE
    finally:
        sink.close(ending)
        source.close()
    return f"{frames} frames; {source.errors + audio.errors}"


def main() -> None:
    video, folder, first, last = sys.argv[1:]
    data = Path(video).read_bytes()
    path = Path(folder) / f"damaged{Path(video).suffix}"
    for seed in range(int(first), int(last) + 1):
        path.write_bytes(damaged(data, seed))
        try:
            outcome = copy(path, path.with_name("out.mp4"))
        except RealtimeError as error:
            outcome = f"refused: {error}"
        print(seed, outcome, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
