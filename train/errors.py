"""The exception of this package, and what to say without its dependencies."""

INSTALL = "pip install 'facial-feature-rcnn[train]'"
OWN_PACKAGES = ("train", "export", "realtime")


class TrainError(Exception):
    """An error that the user can fix: the message gives what was tried, what was found and what to do next."""


def missing_extra(program: str, error: ModuleNotFoundError) -> str:
    """The line for a module of the training extra that is not installed.

    Raises:
        ModuleNotFoundError: the module is one of this project.
    """
    if not error.name or error.name.partition(".")[0] in OWN_PACKAGES:
        raise error
    return f"error: cannot run {program}: {error.name} is not installed. Install it with: {INSTALL}"
