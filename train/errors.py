"""The exception of this package, and what to say without its dependencies."""

import importlib.util

INSTALL = "pip install 'facial-feature-rcnn[train]'"
OWN_PACKAGES = ("train", "export", "realtime")


class TrainError(Exception):
    """An error that the user can fix: the message gives what was tried, what was found and what to do next."""


def require_package(package: str, extra: str, wanted_by: str) -> None:
    """Check that a package is there which few users need, before any work.

    Raises:
        TrainError: it is not; names ``wanted_by``, and the ``extra`` that installs it.
    """
    if importlib.util.find_spec(package) is None:
        install = f"pip install 'facial-feature-rcnn[{extra}]'"
        raise TrainError(f"{wanted_by}: {package} is not installed. Install it with: {install}")


def missing_extra(program: str, error: ModuleNotFoundError) -> str:
    """The line for a module of the training extra that is not installed.

    Raises:
        ModuleNotFoundError: the module is one of this project.
    """
    if not error.name or error.name.partition(".")[0] in OWN_PACKAGES:
        raise error
    return f"error: cannot run {program}: {error.name} is not installed. Install it with: {INSTALL}"
