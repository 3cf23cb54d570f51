"""Single frames, saved at the press of a key."""

import json
from collections.abc import Callable
from pathlib import Path

from realtime.errors import SinkError
from realtime.image_io import write_image
from realtime.results import Result
from realtime.sinks.base import Ending
from realtime.sinks.jsonl import as_unicode
from realtime.sinks.naming import stamped_paths
from realtime.sinks.text_file import TextFile


class Snapshots:
    """Writes a frame as it came, in full resolution, without drawing, and beside it what was found in it.

    The drawn image can be made from the two at any time; the clean one could not be recovered.
    """

    def __init__(
        self, folder: Path, on_message: Callable[[str], None], *, canvas_only: bool = False, camera: str = ""
    ) -> None:
        """Nothing is written yet.

        Args:
            folder: where snapshots go.
            on_message: called with what was saved, or why nothing was: a full disk is no reason to end a live run.
            canvas_only: write the canvas, in which faces are hidden, in place of the frame.
            camera: part of the names of the files, where there are several cameras.
        """
        self._folder = folder
        self._on_message = on_message
        self._canvas_only = canvas_only
        self._camera = camera

    def save(self, result: Result) -> None:
        """Write NAME.png and NAME.json under a name that was free."""
        image, description = stamped_paths(self._folder, ".png", ".json", camera=self._camera)
        try:
            write_image(image, result.canvas if self._canvas_only else result.frame.image)
            _write_json(description, {"image": image.name} | result.to_dict())
        except SinkError as error:
            self._on_message(str(error))
        else:
            self._on_message(f"saved {image}")


def _write_json(path: Path, value: dict[str, object]) -> None:
    file, ending = TextFile(path), Ending.FAILED
    try:
        file.write(as_unicode(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")
        ending = Ending.COMPLETE
    finally:
        file.close(ending)
