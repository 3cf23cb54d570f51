"""The detector: one ONNX file, run by onnxruntime on an execution provider."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np

from realtime.errors import ModelError, ProviderError, one_line
from realtime.inference.batches import detect_in_batches
from realtime.inference.companions import Companion, companion_name, is_companion, read_companion
from realtime.inference.cores import core_count
from realtime.inference.gpu_settings import GpuSettings
from realtime.inference.providers import Provider
from realtime.inference.session import batch_of, open_network
from realtime.letterbox import LetterboxTransform, ThreadLocalLetterbox
from realtime.metadata import OUTPUT_NAMES
from realtime.structures import Detections

MODELS_FOLDER = Path(__file__).parents[1] / "models"
SHARED = {
    **{(name, Companion.WIDE): "faces-wide" for name in ("pico", "nano", "mobile")},
    ("nano", Companion.NARROW): "pico",
}
"""Companions of models that come with the app which are no files of their own: tiles go through a network that knows
faces alone, and ``pico`` has the weights of ``nano``."""


class OnnxDetector:
    """Finds objects in images with an exported model."""

    def __init__(
        self,
        model: Path,
        *,
        provider: Provider = Provider.AUTO,
        settings: GpuSettings | None = None,
        concurrency: int = 1,
    ) -> None:
        """Load a model. For a GPU, do so in the thread that will run it: see ``BoundSession``.

        Args:
            model: ONNX file written by ``realtime export onnx``.
            provider: where to run; ``AUTO`` prefers CUDA and may fall back to the CPU, the others never fall back.
            settings: of the GPU; by default ``GpuSettings()``.
            concurrency: how many threads will each run a frame of their own at a time. They share the cores: a single
                frame is fastest with 1, many frames with one thread for each core. On a GPU, and for a model of
                batches, it is always 1.

        Raises:
            ModelError: the file is missing, damaged, or does not keep the contract.
            ProviderError: the provider does not work here.
        """
        if not model.is_file():
            raise ModelError(f"cannot read model {model}: not found", value=model)
        self._model, self._settings = model, settings
        self.fallback_reason: str | None = None
        """Why ``AUTO`` chose the CPU, in one line."""
        self.provider = Provider.CUDA if provider is Provider.AUTO else provider
        settings = settings or GpuSettings()
        if concurrency > 1 and batch_of(model) > 1:
            concurrency = 1  # the frames of a batch keep all cores busy
        # Each calling thread computes too; onnxruntime's own threads, of which there are fewer, help all of them.
        threads = max(1, core_count() - concurrency + 1)
        try:
            network = open_network(model, self.provider, settings, threads)
        except ProviderError as error:
            if provider is not Provider.AUTO:
                raise
            self.fallback_reason = error.reason
            self.provider = Provider.CPU
            network = open_network(model, self.provider, settings, threads)
        self._session, self._run, self.metadata = network.session, network.run, network.metadata
        self._class_names, self._labels = self.metadata.class_names, np.arange(len(self.metadata.class_names))
        self.cuda_graph_error = network.cuda_graph_error
        """Why the GPU runs without the CUDA graph that was asked for, in one line."""
        self.node_counts = network.node_counts
        """How many nodes of the graph each execution provider of onnxruntime runs."""
        self.concurrency = concurrency if self.provider is Provider.CPU else 1
        """How many threads are to call ``detect`` at the same time."""
        self.is_thread_safe = self.provider is Provider.CPU
        """Whether several threads may call ``detect`` at the same time; a GPU's buffers and graph are one thread's."""
        self.max_batch = self.metadata.batch
        """The most images of a run; the graph computes as many, whether there are fewer or not."""
        self._letterbox = ThreadLocalLetterbox(self.metadata.input_wh, self.metadata.padding_value, self.max_batch)
        self._companion_files = self._find_companions()
        inputs = {
            kind: read_companion(path, kind, model, self.metadata).input_wh
            for kind, path in self._companion_files.items()
        }
        self.tile_wh = inputs.get(Companion.WIDE, self.metadata.input_wh)
        """Width and height in pixels of the input that tiles go through: that of ``wide``, else its own."""
        self.narrow_wh = inputs.get(Companion.NARROW)
        """Width and height in pixels of the input of ``narrow``."""
        self._companions: dict[Companion, OnnxDetector] = {}
        self._opening_companion = Lock()

    def _find_companions(self) -> dict[Companion, Path]:
        # A GPU hardly saves time by a smaller input, and one part of a frame would not fill a batch.
        has_narrow = self.provider is Provider.CPU and self.max_batch == 1
        kinds = [Companion.WIDE, Companion.NARROW] if has_narrow else [Companion.WIDE]
        return {kind: path for kind in kinds if (path := companion_file(self._model, kind))}

    @property
    def wide(self) -> "OnnxDetector | None":
        """A network with a wider input, which looks at tiles; None if the model has no such companion.

        It has the same weights, or was trained for faces alone; its labels are those of the model.

        It is opened by the first call, since a frame that is looked at once needs none.

        Raises:
            ModelError: the file is damaged, or does not keep the contract.
        """
        return self._companion(Companion.WIDE)

    @property
    def narrow(self) -> "OnnxDetector | None":
        """The same weights with a smaller input, which follows near faces live; otherwise as ``wide``."""
        return self._companion(Companion.NARROW)

    def _companion(self, kind: Companion) -> "OnnxDetector | None":
        path = self._companion_files.get(kind)
        if path is None:
            return None
        with self._opening_companion:
            if kind not in self._companions:
                companion = OnnxDetector(
                    path, provider=self.provider, settings=self._settings, concurrency=self.concurrency
                )
                if companion.metadata.class_names != self.metadata.class_names:
                    companion._label_as(self.metadata.class_names)
                self._companions[kind] = companion
        return self._companions[kind]

    def _label_as(self, class_names: tuple[str, ...]) -> None:
        """Give labels that are indices into ``class_names``, its own among them."""
        self._labels = np.array([class_names.index(name) for name in self.metadata.class_names])
        self._class_names = class_names

    def detect(self, image: np.ndarray) -> Detections:
        """Find objects.

        Args:
            image: uint8 (H,W,3), BGR.

        Returns:
            All detections that the graph gives, boxes in pixels of ``image``.
        """
        return self.infer(*self.preprocess(image))

    def detect_batch(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """Find objects in several images: frames of a file or of several cameras, or regions of a frame.

        Args:
            images: uint8 (H,W,3), BGR, each of its own size.

        Returns:
            What ``detect`` gives for each, in this order.
        """
        return detect_in_batches(self, images)

    def preprocess(self, image: np.ndarray) -> tuple[np.ndarray, LetterboxTransform]:
        """The first stage of ``detect``: the network's input, and the transform of its boxes."""
        return self._letterbox(image)

    def preprocess_batch(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, list[LetterboxTransform]]:
        """The same for at most ``max_batch`` images; what is returned is valid until the next call of either."""
        return self._letterbox.batch(images)

    def infer(self, network_input: np.ndarray, transform: LetterboxTransform) -> Detections:
        """The second stage of ``detect``: run the network and map its boxes back.

        Raises:
            ModelError: the graph fails, or its outputs are not as its metadata say.
        """
        return self.infer_batch(network_input, [transform])[0]

    def infer_batch(self, network_input: np.ndarray, transforms: Sequence[LetterboxTransform]) -> list[Detections]:
        """The same for as many images as there are transforms; what else is in the input is not looked at.

        Raises:
            ModelError: the graph fails, or its outputs are not as its metadata say.
        """
        try:
            outputs = self._run(network_input)
        except Exception as error:  # onnxruntime's exceptions share no base class
            where = self.provider.value
            raise ModelError(
                f"{self._model}: the network failed on {where}: {one_line(error)}", value=self._model
            ) from error
        boxes, scores, labels = (outputs[name] for name in OUTPUT_NAMES)
        rows = self.metadata.rows_shape
        if (boxes.shape, scores.shape, labels.shape) != ((*rows, 4), rows, rows):
            raise ModelError(
                f"{self._model}: the network gave boxes {boxes.shape}, scores {scores.shape} and labels "
                f"{labels.shape}, not the {' x '.join(map(str, rows))} rows that its metadata say",
                value=self._model,
            )
        of_images = zip(boxes, scores, labels, strict=True) if self.max_batch > 1 else [(boxes, scores, labels)]
        return [self._detections(*found, transform) for found, transform in zip(of_images, transforms, strict=False)]

    def _detections(
        self, boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, transform: LetterboxTransform
    ) -> Detections:
        """The rows (D,) of an image that are used, boxes in its pixels."""
        named = _meaningful(boxes, scores, labels, len(self.metadata.class_names))
        boxes, scores = transform.to_frame(boxes[named]), np.minimum(scores[named], 1)
        labels = self._labels[labels[named]]
        seen = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # neither inverted nor wholly in the letterbox's border
        return Detections(boxes[seen], labels[seen], scores[seen], self._class_names)


def shipped_models() -> list[str]:
    """Names of the models that come with the app."""
    return sorted(path.stem for path in MODELS_FOLDER.glob("*.onnx") if not is_companion(path))


def companion_file(model: Path, kind: Companion) -> Path | None:
    """The companion of a model, if there is one: ``mine-wide.onnx`` beside ``mine.onnx``."""
    is_shipped = model.parent.resolve() == MODELS_FOLDER.resolve()
    shared = SHARED.get((model.stem, kind)) if is_shipped else None
    path = model.with_stem(shared) if shared else companion_name(model, kind)
    return path if path.is_file() and not is_companion(model) else None


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
    raise ModelError(
        f"neither a file nor a model that comes with the app (there: {known})", parameter="model", value=name
    )


def _meaningful(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, class_count: int) -> np.ndarray:
    """Indices of the valid rows, by falling score; unused rows have score 0.

    A file from elsewhere may give boxes that are not finite, scores outside 0..1 or labels without a name.
    """
    # A softmax may exceed 1 by a rounding error.
    valid = (scores > 0) & (scores < 1.001) & (labels >= 0) & (labels < class_count)
    rows = np.flatnonzero(valid & np.isfinite(boxes).all(axis=1))
    return rows[np.argsort(-scores[rows], kind="stable")]
