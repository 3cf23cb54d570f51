"""The exceptions of the app. Each message says what was tried, what was found and what to do next."""


class RealtimeError(Exception):
    """Something that the user can mend; the command line prints it as one line."""


class SourceError(RealtimeError):
    """A camera, video or image that cannot be opened or read."""


class SinkError(RealtimeError):
    """A file or window that cannot be written to."""


class ModelError(RealtimeError):
    """An ONNX file that is missing, damaged, or does not keep the contract."""


class ProviderError(RealtimeError):
    """An execution provider that was asked for and does not work here."""
