"""The contract between an exported model and the app, kept in the ONNX file's ``metadata_props``.

Standard library only: ``export`` writes with this module what the app reads with it. Keys that are not fields of
``ModelMetadata`` are ignored, such as ``resize_mode``, which earlier versions wrote.
"""

import json
import math
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from realtime.errors import ModelError, Remedy, one_line
from realtime.score_levels import CALIBRATED, UNCALIBRATED, ScoreLevels

SCHEMA_VERSION = 1
KEY_PREFIX = "realtime."
PRECISIONS = ("float32", "float16")
MAX_SIDE_PX = 8192
"""Larger inputs are refused: a hostile file must not make the app allocate unlimited memory."""
MAX_BATCH = 128
"""Images in one run; together they have at most ``MAX_SIDE_PX``² pixels, for the same reason."""
MAX_VALUE_CHARS = 1_000_000

INPUT_NAME = "image"
OUTPUT_NAMES = ("boxes", "scores", "labels")


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """What the app must know about a model besides its graph."""

    class_names: tuple[str, ...]
    """Names by label: output label ``i`` is ``class_names[i]``."""
    input_wh: tuple[int, int]
    """Width and height in pixels of the input, which is uint8 (batch,H,W,3) BGR."""
    max_detections: int
    """Rows of the outputs for an image; unused rows have score 0."""
    threshold: float
    """Default score threshold."""
    min_score: float
    """Score, before calibration, below which the graph returns nothing."""
    architecture: str
    training: dict[str, Any]
    """Data, recipe and metrics of the training run, for people."""
    padding_value: int = 114
    """Grey level of the letterbox border."""
    precision: str = "float32"
    """Of the layers that have weights."""
    schema_version: int = SCHEMA_VERSION
    batch: int = 1
    """Images in one run. Where it is 1, the outputs have no axis for it."""
    calibration: dict[str, Any] | None = None
    """How the graph turns its softmax into the share of detections that are right: ``a``, ``b`` and ``factors``, one
    for each class, of ``train.models.calibration``. None: scores are the softmax."""
    is_exact: bool = True
    """Whether the graph computes all that the model does; else it has a short tail or a budget."""

    @property
    def levels(self) -> ScoreLevels:
        """What scores below the threshold are good for."""
        return CALIBRATED if self.calibration else UNCALIBRATED

    def to_props(self) -> dict[str, str]:
        """The metadata as ONNX ``metadata_props``: prefixed keys, JSON values."""
        values = asdict(self)
        if self.batch == 1:  # earlier versions of the app know no batches
            del values["batch"]
        if self.calibration is None:
            del values["calibration"]
        if self.is_exact:
            del values["is_exact"]
        return {KEY_PREFIX + key: json.dumps(value) for key, value in values.items()}

    @classmethod
    def from_props(cls, props: Mapping[str, str], source: str) -> "ModelMetadata":
        """Parse and check ``metadata_props``.

        Args:
            props: keys and values as onnxruntime or onnx give them.
            source: name of the file, for messages.

        Raises:
            ModelError: a key is missing or its value is not what the contract says.
        """
        if not any(key.startswith(KEY_PREFIX) for key in props):
            raise _model_error(source, "this ONNX file has no metadata of this app")
        values: dict[str, Any] = {}
        for field in fields(cls):
            text = props.get(KEY_PREFIX + field.name, _FALLBACKS.get(field.name))
            if text is None:
                raise _model_error(source, f"metadata key '{field.name}' is missing")
            values[field.name] = _parsed(field.name, text, source)
        width, height = values["input_wh"]
        if values["batch"] * width * height > MAX_SIDE_PX**2:
            raise _model_error(source, f"{values['batch']} images of {width}x{height} in a run are too many")
        if values["calibration"] and len(values["calibration"]["factors"]) != len(values["class_names"]):
            raise _model_error(source, "metadata key 'calibration' is for another number of classes")
        return cls(**values)

    @property
    def rows_shape(self) -> tuple[int, ...]:
        """Shape of ``scores`` and ``labels``: (D,), or (batch,D) where there are several images."""
        return (self.max_detections,) if self.batch == 1 else (self.batch, self.max_detections)

    def check_graph(self, inputs: Sequence["_NodeArg"], outputs: Sequence["_NodeArg"], source: str) -> None:
        """Check that the graph's inputs and outputs are as the metadata say.

        Raises:
            ModelError: a name, type or shape is different.
        """
        width, height = self.input_wh
        rows = self.rows_shape
        expected_inputs = {INPUT_NAME: ("tensor(uint8)", [self.batch, height, width, 3])}
        expected_outputs = {
            "boxes": ("tensor(float)", [*rows, 4]),
            "scores": ("tensor(float)", [*rows]),
            "labels": ("tensor(int64)", [*rows]),
        }
        for kind, expected, args in (("inputs", expected_inputs, inputs), ("outputs", expected_outputs, outputs)):
            found = {arg.name: (arg.type, list(arg.shape)) for arg in args}
            if found != expected:
                raise ModelError(
                    f"{source}: graph and metadata disagree: expected {kind} {expected}, found {one_line(found)}",
                    value=source,
                )


def _model_error(source: str, message: str) -> ModelError:
    return ModelError(
        f"{source}: {message}", value=source, remedy=Remedy("export it again", tool="export", target=source)
    )


def _parsed(key: str, text: str, source: str) -> Any:
    """The value of a key, lists as tuples."""
    if len(text) > MAX_VALUE_CHARS:
        raise _model_error(source, f"metadata key '{key}' is too long: {len(text)} characters")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise _model_error(source, f"metadata key '{key}' is not JSON: {text[:40]!r}") from None
    if not _CHECKS[key](value):
        raise _model_error(source, f"metadata key '{key}' has a bad value: {one_line(text, 60)}")
    return tuple(value) if isinstance(value, list) else value


class _NodeArg:
    """The part of ``onnxruntime.NodeArg`` that is used here."""

    name: str
    type: str
    shape: list[int]


def _is_int(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_fraction(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and 0 <= value <= 1


def _is_positive(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _is_calibration(value: Any) -> bool:
    if value is None:
        return True
    factors = value.get("factors") if isinstance(value, dict) else None
    return isinstance(factors, list) and all(map(_is_positive, (value.get("a"), value.get("b"), *factors)))


def _are_names(value: Any) -> bool:
    return (
        isinstance(value, list)
        and 1 <= len(value) <= 10_000
        and all(_is_text(name) and name.strip() for name in value)
        and len(set(value)) == len(value)
    )


def _is_text(value: Any) -> bool:
    """Text that can be printed and drawn: only characters, none of which control a terminal."""
    return (
        isinstance(value, str)
        and len(value) <= 200
        and not any(unicodedata.category(char) in _UNPRINTABLE or char in _BIDI_CONTROLS for char in value)
    )


_UNPRINTABLE = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters (such as escape), surrogates, line and paragraph separators."""
_BIDI_CONTROLS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that change the direction of the text after them. Joiners, which some scripts need, are allowed."""

_FALLBACKS = {
    "precision": json.dumps("float32"),
    "batch": json.dumps(1),
    "calibration": json.dumps(None),
    "is_exact": "true",
}
"""Values of keys that a file may lack: those from before half precision have no ``precision``, those for one image no
``batch``, those whose scores are a softmax no ``calibration``, and those that compute all, or are older, no
``is_exact``."""

_CHECKS: dict[str, Callable[[Any], bool]] = {
    "class_names": _are_names,
    "input_wh": lambda v: isinstance(v, list) and len(v) == 2 and all(_is_int(side, 32, MAX_SIDE_PX) for side in v),
    "max_detections": lambda v: _is_int(v, 1, 100_000),
    "threshold": _is_fraction,
    "min_score": _is_fraction,
    "architecture": _is_text,
    "training": lambda v: isinstance(v, dict),
    "padding_value": lambda v: _is_int(v, 0, 255),
    "precision": lambda v: v in PRECISIONS,
    "schema_version": lambda v: _is_int(v, SCHEMA_VERSION, SCHEMA_VERSION),
    "batch": lambda v: _is_int(v, 1, MAX_BATCH),
    "calibration": _is_calibration,
    "is_exact": lambda v: isinstance(v, bool),
}
