"""The results of checks."""

from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How much a finding matters."""

    OK = "ok"
    NOTE = "note"
    """Something optional is missing."""
    WARNING = "warning"
    """Something optional is broken."""
    FAILURE = "failure"
    """The app cannot run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    level: Level
    text: str
    remedy: str = ""
    """What to do about it."""
    data: dict[str, Any] = field(default_factory=dict)
    """The same for programs: plain JSON values."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Finding":
        """The inverse of ``to_json``."""
        return cls(Level(values["level"]), values["text"], values["remedy"], values["data"])
