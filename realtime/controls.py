"""What the user can change while the app runs, and the keys for it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

THRESHOLD_STEP = 0.05


@dataclass(slots=True)
class Controls:
    """The state that keys change and that pipeline, recorder and window go by.

    It belongs to the thread of the run; ``ended`` alone may be set from anywhere.
    """

    threshold: float
    """Least score of the boxes that count: in the window, and in all that is written."""
    hidden: set[int] = field(default_factory=set)
    """Labels of the classes that are not drawn."""
    labels: bool = True
    """Write name and score at the boxes."""
    mirror: bool = False
    """Show the window's image as a mirror does; files are never mirrored."""
    overlay: bool = True
    """Show the state of the run in the window."""
    help: bool = False
    """Show the keys in the window."""
    paused: bool = False
    step_wanted: bool = False
    """Let one frame through the pause."""
    snapshot_wanted: bool = False
    recording: bool = False
    ended: bool = False
    """The run shall end."""

    @property
    def is_held(self) -> bool:
        """True while no new frame is wanted."""
        return self.paused and not self.step_wanted

    def press(self, key: str) -> bool:
        """Do what a key stands for; False if it stands for nothing. Keys have the names that ``BINDINGS`` gives."""
        action = _ACTIONS.get(key)
        if action is not None:
            action(self)
        return action is not None


@dataclass(frozen=True, slots=True)
class Binding:
    """Keys and what they do."""

    keys: tuple[str, ...]
    shown: str
    """The keys as the help names them."""
    meaning: str
    action: Callable[[Controls], None]


def _end(controls: Controls) -> None:
    controls.ended = True


def _step(controls: Controls) -> None:
    controls.paused = controls.step_wanted = True


def _snapshot(controls: Controls) -> None:
    controls.snapshot_wanted = True


def _move_threshold(by: float, controls: Controls) -> None:
    controls.threshold = min(1.0, max(0.0, round(controls.threshold + by, 2)))


def _toggle_class(label: int, controls: Controls) -> None:
    controls.hidden ^= {label}


def _toggle(name: str, controls: Controls) -> None:
    setattr(controls, name, not getattr(controls, name))


BINDINGS = (
    Binding(("q", "esc"), "q, Esc", "quit", _end),
    Binding(("space",), "Space", "pause, go on", partial(_toggle, "paused")),
    Binding((".", "n"), ". or n", "one frame on, then pause", _step),
    Binding(("s",), "s", "snapshot", _snapshot),
    Binding(("r",), "r", "start, end a recording", partial(_toggle, "recording")),
    Binding(("+", "=", "up"), "+ or Up", "fewer boxes: threshold up", partial(_move_threshold, THRESHOLD_STEP)),
    Binding(("-", "_", "down"), "- or Down", "more boxes: threshold down", partial(_move_threshold, -THRESHOLD_STEP)),
    Binding(("m",), "m", "mirror", partial(_toggle, "mirror")),
    Binding(("l",), "l", "labels on, off", partial(_toggle, "labels")),
    Binding(("o",), "o", "overlay on, off", partial(_toggle, "overlay")),
    Binding(("h", "?"), "h or ?", "this help on, off", partial(_toggle, "help")),
)
CLASS_KEYS = tuple("123456789")
"""Show or hide the classes, in the model's order."""

_ACTIONS = {key: binding.action for binding in BINDINGS for key in binding.keys} | {
    key: partial(_toggle_class, label) for label, key in enumerate(CLASS_KEYS)
}
