"""The model card of a quick run: what the detector finds, how well, what it forgot, and how to use it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from train.evaluation.metrics import ClassMetrics, Metrics
from train.evaluation.predict import Outcome
from train.quick.advice import WORST_NAMED, error_text
from train.quick.compare import Agreement


@dataclass(frozen=True, slots=True)
class Forgetting:
    """What the trained detector finds of what the one that it began as finds."""

    own_images: list[Agreement]
    """In the user's images, of the boxes that are not labelled."""
    own_count: int
    """How many images these were."""
    photos: list[Agreement]
    """In the photos that come with the package, of all boxes."""
    photo_count: int
    lost: tuple[str, ...]
    """Classes that are not among the user's."""


@dataclass(frozen=True, slots=True)
class Result:
    """All that a quick run has found out."""

    start: str
    """Name of the detector that it began as."""
    before: Metrics | None
    """Of that detector on val; None if it knows none of the classes."""
    after: Metrics
    new_classes: tuple[str, ...]
    forgetting: Forgetting
    worst: Sequence[Outcome]
    help: Sequence[str]
    """What would help most."""
    val: str
    """Which images were validated on."""
    info: dict[str, Any]
    """Of the checkpoint."""

    @property
    def is_better(self) -> bool:
        """Whether training has made anything better on val."""
        return self.before is None or bool(self.new_classes) or self.after.map50_95 > self.before.map50_95


def scores_rows(result: Result) -> list[tuple[str, ...]]:
    """A row for each class and one of the means: labelled boxes, F1 and AP50-95 before and after."""
    rows = []
    for i, after in enumerate(result.after.classes):
        before = result.before.classes[i] if result.before and after.name not in result.new_classes else None
        rows.append((after.name, str(after.labelled), *_scores(before, after)))
    old = [c for c in result.after.classes if c.labelled and c.name not in result.new_classes]
    if result.before and old:
        pairs = [(c, a) for c, a in zip(result.before.classes, result.after.classes, strict=True) if a in old]
        means = [f"{sum(getattr(c, key) for c in side) / len(pairs):.3f}" for key in ("f1", "ap50_95")
                 for side in zip(*pairs, strict=True)]  # fmt: skip
        rows.append((f"mean of those that {result.start} knows", "", *means))
    return rows


SCORES_HEADER = ("class", "labelled", "F1 before", "F1 after", "AP50-95 before", "AP50-95 after")


def _scores(before: ClassMetrics | None, after: ClassMetrics) -> tuple[str, ...]:
    if not after.labelled:
        return "-", "-", "-", "-"
    old = (f"{before.f1:.3f}", f"{before.ap50_95:.3f}") if before else ("new", "new")
    return old[0], f"{after.f1:.3f}", old[1], f"{after.ap50_95:.3f}"


def scores_note(result: Result) -> str:
    """What the table of scores is worth."""
    thresholds = f"{result.start} at its threshold {result.before.threshold:.2f}, " if result.before else ""
    return (
        f"{result.after.images} images of {result.val}; {thresholds}the new one at {result.after.threshold:.2f}. "
        "Its scores or its threshold were fitted to these images, and the best moment of the training was chosen on "
        "them: on others expect a little less."
    )


def forgetting_lines(result: Result) -> list[str]:
    """What was forgotten, as far as that can be measured without the images of the first training."""
    forgetting, start = result.forgetting, result.start
    lines = [f"No longer found, since not among your classes: {', '.join(forgetting.lost)}."] if forgetting.lost else []
    if forgetting.own_images:
        lines.append(
            f"Of the boxes that {start} finds in {forgetting.own_count} of your images and that are not labelled, the "
            f"new detector finds {_shares(forgetting.own_images)}. What is missing was forgotten, or was wrong."
        )
    if forgetting.photos:
        lines.append(
            f"Of the boxes that {start} finds in the {forgetting.photo_count} photos that come with this project, the "
            f"new detector finds {_shares(forgetting.photos)}. So few photos only show whether much was forgotten."
        )
    if lines:
        lines.append(
            f"How well it does on other kinds of images than yours is not known: the images that {start} learnt from "
            "are not part of this project. If that matters, keep some labelled images of other kinds and run "
            "realtime train evaluate on them."
        )
    return lines


def _shares(agreements: Sequence[Agreement]) -> str:
    return ", ".join(f"{a.found_too} of {a.boxes} ({a.name})" for a in agreements)


def worst_lines(result: Result, *, folders: bool = True) -> list[str]:
    """The worst images, each with the reason; a model card, which is passed on, names no folders."""
    names = [c.name for c in result.after.classes]
    worst = [o for o in result.worst[:WORST_NAMED] if o.errors]
    return [f"{o.path if folders else o.path.name}: {error_text(o, names)}" for o in worst]


def card_text(result: Result, model: str) -> str:
    """The model card in Markdown.

    Args:
        result: of the run.
        model: name of the ONNX file.
    """
    classes = ", ".join(c.name for c in result.after.classes)
    parts = [
        f"# {model}",
        f"Finds {classes}. Trained from the shipped `{result.start}` by `realtime train quick`.",
        "## Use",
        f"```sh\nrealtime cam --model {model}\nrealtime video in.mp4 --out out.mp4 --model {model}\n```",
        "## Scores",
        scores_note(result),
        _table(SCORES_HEADER, scores_rows(result)),
        "## What was forgotten",
        *(forgetting_lines(result) or [f"`{result.start}` knows none of these classes."]),
        "## What would help most",
        _list(result.help) or "Nothing stands out: more images, as varied as what it will see.",
        "The images with the most errors, drawn in `errors/index.html`:" if worst_lines(result) else "",
        _list(worst_lines(result, folders=False)),
        "## Training",
        _list(_training(result.info)),
        "## Terms",
        f"The weights are derived from those of the shipped `{result.start}`, which may be used for research and other "
        "non-commercial purposes only (LICENSE-WEIGHTS.md of the project); so may these.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _training(info: dict[str, Any]) -> list[str]:
    options = info["options"]
    return [
        f"data: {info['data']}, {info['train_images']} images to train on (SHA-256 of names and labels "
        f"{info['train_sha256'][:16]}…)",
        f"options: {options['arch']} at {options['size']} px, {options['optimizer']}, learning rate {options['lr']:g}, "
        f"batches of {options['batch_size']}, time {options['time']}, {info['images_seen']} augmented images, "
        f"seed {options['seed']}",
        f"versions: {', '.join(f'{name} {version}' for name, version in info['versions'].items())}",
    ]


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_escaped(line)}" for line in lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(text: str) -> str:
    """Class names and paths may hold what Markdown reads as its own."""
    return text.translate({ord(c): f"\\{c}" for c in "\\|*_`<"})
