"""The detector: one ONNX file run by onnxruntime on a chosen execution provider."""

import os
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort

from realtime.cuda import find_obstacle
from realtime.errors import ModelError, ProviderError, one_line
from realtime.metadata import INPUT_NAME, OUTPUT_NAMES, ModelMetadata
from realtime.preprocess import Letterbox, LetterboxTransform
from realtime.providers import PROVIDER_NAMES, Provider
from realtime.structures import Detections

MODELS_FOLDER = Path(__file__).parent / "models"
FATAL_SEVERITY = 4
"""What goes wrong is raised; onnxruntime's own lines about it would show names out of the file unfiltered."""
FEW_CORES = 4
"""With no more than these, an encoder needs about all that the network leaves; with more, the network is the slower of
the two, and quickest when its threads wait for their next task on their cores."""


class OnnxDetector:
    """Finds objects in pictures with an exported model."""

    def __init__(
        self,
        model: Path,
        *,
        provider: Provider = Provider.AUTO,
        shares_cores: bool = False,
    ) -> None:
        """Load a model.

        Args:
            model: ONNX file written by ``python -m export onnx``.
            provider: where to run; ``AUTO`` prefers CUDA and may fall back to the CPU, the others never fall back.
            shares_cores: an encoder works beside the network; where cores are few, they are left to it in between.

        Raises:
            ModelError: the file is missing, damaged, or does not keep the contract.
            ProviderError: the provider does not work here.
        """
        if not model.is_file():
            raise ModelError(f"cannot read model {model}: not found")
        ort.set_default_logger_severity(FATAL_SEVERITY)
        ort.disable_telemetry_events()  # pictures of people, and what is done with them, are nobody's business
        self._model = model
        self.fallback_reason: str | None = None
        """Why ``AUTO`` took the CPU, for one line to the user."""
        self.provider = Provider.CUDA if provider is Provider.AUTO else provider
        spins = not shares_cores or _core_count() > FEW_CORES
        try:
            self._session = _open_session(model, self.provider, spins=spins)
        except ProviderError as error:
            if provider is not Provider.AUTO:
                raise
            self.fallback_reason = str(error).removeprefix("--provider cuda: ")
            self.provider = Provider.CPU
            self._session = _open_session(model, self.provider, spins=spins)
        self.metadata = ModelMetadata.from_props(self._session.get_modelmeta().custom_metadata_map, source=str(model))
        self.metadata.check_graph(self._session.get_inputs(), self._session.get_outputs(), source=str(model))
        self.node_counts = {name: kinds.total() for name, kinds in _placement(self._session).items()}
        """How many nodes of the graph each execution provider of onnxruntime runs."""
        self._letterbox = Letterbox(self.metadata.input_wh, self.metadata.padding_value)

    def detect(self, image: np.ndarray) -> Detections:
        """Find objects.

        Args:
            image: uint8 (H,W,3), BGR.

        Returns:
            All detections above the model's ``min_score``, boxes in pixels of ``image``.
        """
        return self.infer(*self.preprocess(image))

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """The first stage of ``detect``: the network's input and the transform for its boxes."""
        return self._letterbox(image)

    def infer(self, network_input: np.ndarray, transform: LetterboxTransform) -> Detections:
        """The second stage of ``detect``: run the network and map its boxes back.

        Raises:
            ModelError: the graph fails, or gives something else than it promised.
        """
        try:
            boxes, scores, labels = self._session.run(OUTPUT_NAMES, {INPUT_NAME: network_input})
        except Exception as error:  # onnxruntime's exceptions share no base class
            where = self.provider.value
            raise ModelError(f"{self._model}: the network failed on {where}: {one_line(error)}") from error
        rows = self.metadata.max_detections
        if (boxes.shape, scores.shape, labels.shape) != ((rows, 4), (rows,), (rows,)):
            raise ModelError(
                f"{self._model}: the network gave boxes {boxes.shape}, scores {scores.shape} and labels "
                f"{labels.shape}, not the {rows} rows that its metadata promise"
            )
        named = _meaningful(boxes, scores, labels, len(self.metadata.class_names))
        boxes, labels, scores = transform.to_frame(boxes[named]), labels[named], np.minimum(scores[named], 1)
        seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # neither turned inside out nor in the letterbox's border
        return Detections(boxes[seen], labels[seen], scores[seen])


def shipped_models() -> list[str]:
    """Names of the models that come with the app."""
    return sorted(path.stem for path in MODELS_FOLDER.glob("*.onnx"))


def find_model(name: str) -> Path:
    """The file of a model given by name or path.

    Raises:
        ModelError: there is no such model.
    """
    if name in shipped_models():
        return MODELS_FOLDER / f"{name}.onnx"
    path = Path(name)
    if path.is_file():
        return path
    known = ", ".join(shipped_models()) or "none"
    raise ModelError(f"--model {name}: neither a file nor a model that comes with the app (there: {known})")


def _open_session(model: Path, provider: Provider, *, spins: bool) -> ort.InferenceSession:
    if provider is not Provider.CPU:
        obstacle = find_obstacle()
        if obstacle is not None:
            raise ProviderError(f"--provider {provider.value}: {obstacle}")
    try:
        session = _session(model, provider, strict=provider is not Provider.CPU, spins=spins)
    except Exception as error:  # onnxruntime's exceptions share no base class
        if provider is Provider.CPU:
            raise ModelError(f"{model}: not a readable ONNX model: {one_line(error)}") from error
        raise ProviderError(f"--provider {provider.value}: {_why_not_placed(model, provider, error)}") from error
    if session.get_providers()[0] != PROVIDER_NAMES[provider]:
        raise ProviderError(f"--provider {provider.value}: onnxruntime fell back to {session.get_providers()[0]}")
    return session


def _session(model: Path, provider: Provider, *, strict: bool, spins: bool = True) -> ort.InferenceSession:
    """Open a session; a strict one is refused by onnxruntime if one node, shape arithmetic included, needs the CPU.

    With ``spins``, threads that have nothing to do stay on their cores and wait for more.
    """
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_SEVERITY
    options.intra_op_num_threads = _core_count()
    if not spins:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    # Its Python layer would otherwise answer a failure, even in the middle of a run, with a new session on the CPU.
    return ort.InferenceSession(model, options, providers=[PROVIDER_NAMES[provider]], enable_fallback=0)


def _core_count() -> int:
    return os.cpu_count() or 1


def _why_not_placed(model: Path, provider: Provider, error: Exception) -> str:
    """In words: which nodes would run on the CPU, if that is why a strict session was refused."""
    try:
        session = _session(model, provider, strict=False)
    except Exception:  # the model, or the provider, does not work at all
        return f"onnxruntime cannot run {model} there: {one_line(error)}"
    nodes = _placement(session)
    on_cpu = nodes.get(PROVIDER_NAMES[Provider.CPU], Counter())
    total = sum(kinds.total() for kinds in nodes.values())
    if session.get_providers()[0] != PROVIDER_NAMES[provider]:
        return f"it does not start, and all {total} nodes would run on the CPU. See why with: realtime doctor"
    if not on_cpu:
        return f"onnxruntime cannot run {model} there: {one_line(error)}"
    kinds = ", ".join(f"{count} {one_line(kind, 40)}" for kind, count in on_cpu.most_common(5))
    more = ", …" if len(on_cpu) > 5 else ""
    return (
        f"onnxruntime placed {on_cpu.total()} of {total} nodes on the CPU ({kinds}{more}). Re-export the model with: "
        "python -m export onnx, or use --provider cpu"
    )


def _placement(session: ort.InferenceSession) -> dict[str, Counter[str]]:
    """How many nodes of each kind each execution provider runs."""
    nodes: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return nodes


def _meaningful(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, class_count: int) -> np.ndarray:
    """Indices of the rows that can be drawn, best first; unused rows have score 0, broken ones anything.

    A file from elsewhere may give boxes that are no numbers, scores out of 0..1 or labels that have no name.
    """
    # A softmax may exceed 1 by a rounding error.
    valid = (scores > 0) & (scores < 1.001) & (labels >= 0) & (labels < class_count)
    rows = np.flatnonzero(valid & np.isfinite(boxes).all(axis=1))
    return rows[np.argsort(-scores[rows], kind="stable")]
