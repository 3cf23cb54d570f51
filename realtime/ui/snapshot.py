"""Single frames, kept by a key."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from realtime.errors import SinkError
from realtime.image_io import write_image
from realtime.sinks.base import Ending
from realtime.sinks.jsonl import described
from realtime.sinks.naming import stamped_paths
from realtime.sinks.text_file import TextFile
from realtime.structures import Result


class Snapshots:
    """Writes a frame as it came, in full resolution, without drawing, and beside it what was found in it.

    A drawn picture can be made of the two at any time, the clean one could not be had back.
    """

    def __init__(
        self, folder: Path, class_names: Sequence[str], tell: Callable[[str], None], *, canvas_only: bool = False
    ) -> None:
        """Nothing is written yet.

        Args:
            folder: where snapshots go.
            class_names: names by label.
            tell: called with what was saved, or why nothing was: a full disk is no reason to end a live run.
            canvas_only: write the run's own picture, in which faces are hidden, say, in place of the frame.
        """
        self._folder = folder
        self._class_names = class_names
        self._tell = tell
        self._canvas_only = canvas_only

    def save(self, result: Result) -> None:
        """Write NAME.png and NAME.json under a name that was free."""
        picture, description = stamped_paths(self._folder, ".png", ".json")
        try:
            write_image(picture, result.canvas if self._canvas_only else result.frame.image)
            _write_json(description, {"image": picture.name} | described(result, self._class_names))
        except SinkError as error:
            self._tell(str(error))
        else:
            self._tell(f"saved {picture}")


def _write_json(path: Path, value: dict[str, object]) -> None:
    file, ending = TextFile(path), Ending.FAILED
    try:
        file.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
        ending = Ending.COMPLETE
    finally:
        file.close(ending)
