"""The exception of this package."""


class ExportError(Exception):
    """An error that the user can fix: the message gives what was tried, what was found and what to do next."""
