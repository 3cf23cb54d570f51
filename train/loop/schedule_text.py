"""Durations and schedules of input sizes, as the command line takes them."""

import re

from train.errors import TrainError
from train.models.architectures import SIZE_MULTIPLE_PX

UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0}
DURATION = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?")


def seconds_of(text: str) -> float:
    """Seconds of a duration such as ``90s``, ``8m`` or ``1h30m``.

    Raises:
        TrainError: it is none, or 0.
    """
    match = DURATION.fullmatch(text.strip().lower())
    seconds = sum(float(value) * UNITS_S[unit] for unit, value in match.groupdict("0").items()) if match else 0.0
    if not seconds:
        raise TrainError(f"--time {text}: expected hours, minutes and seconds, such as 90s, 8m or 1h30m")
    return seconds


def size_schedule(text: str) -> list[tuple[int, float]]:
    """Sides in pixels of a text such as ``384,480`` or ``384:0.65,480:0.35``, each with its share of the run.

    Returns:
        Sizes in their order; the shares add up to 1, and are equal if none is given.

    Raises:
        TrainError: it is no such text, or a side does not suit the models.
    """
    pairs = [entry.strip().partition(":") for entry in text.split(",")]
    try:
        sizes = [int(size) for size, _, _ in pairs]
        weights = [float(share) if colon else 1.0 for _, colon, share in pairs]
    except ValueError:
        raise _malformed(text) from None
    if len({colon for _, colon, _ in pairs}) > 1 or not all(0 < weight < float("inf") for weight in weights):
        raise _malformed(text)
    for size in sizes:
        if size < 2 * SIZE_MULTIPLE_PX or size % SIZE_MULTIPLE_PX:
            raise TrainError(f"--sizes {text}: {size} is not a multiple of {SIZE_MULTIPLE_PX}, 64 or more")
    return [(size, weight / sum(weights)) for size, weight in zip(sizes, weights, strict=True)]


def _malformed(text: str) -> TrainError:
    return TrainError(
        f"--sizes {text}: expected sides in pixels, such as 384,480, or each with its share of the run: "
        "384:0.65,480:0.35"
    )
