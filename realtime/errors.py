"""The exceptions of the app. Each message says what was tried, what was found and what to do next."""


def one_line(text: object, limit: int = 300) -> str:
    """Foreign text, such as another library's message, fit to be printed: one line, cut off, no control characters.

    A file may hold escape sequences that would move a terminal's cursor or change its colours.
    """
    line = " ".join(str(text).split())
    line = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in line)
    return line if len(line) <= limit else line[: limit - 1] + "…"


class RealtimeError(Exception):
    """Something that the user can mend; the command line prints it as one line."""


class SourceError(RealtimeError):
    """A camera, video or image that cannot be opened or read."""


class ImageError(RealtimeError):
    """An array that is no image of a kind that is understood."""


class RegionError(RealtimeError):
    """Regions of a frame that cannot be looked at."""


class SinkError(RealtimeError):
    """A file or window that cannot be written to."""


class ModelError(RealtimeError):
    """An ONNX file that is missing, damaged, or does not keep the contract."""


class ProviderError(RealtimeError):
    """An execution provider that was asked for and does not work here."""
