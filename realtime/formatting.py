"""Numbers and lists as people read them."""

from collections.abc import Sequence


def clock(seconds: float) -> str:
    """Hours, minutes and seconds as 1:02:03."""
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"


def counted(number: int, noun: str) -> str:
    """A number of things as "1 frame" or "2 frames"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def listed(items: Sequence[str]) -> str:
    """Items as "a", "a and b" or "a, b and c"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
