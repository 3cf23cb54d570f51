"""The exception of this package."""


class TrainError(Exception):
    """Something that the user can mend: the message says what was tried, what was found and what to do next."""
