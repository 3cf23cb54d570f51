"""The detector: one ONNX file run by onnxruntime on a chosen execution provider."""

import ctypes
import os
import platform
from pathlib import Path

import numpy as np
import onnxruntime as ort

from realtime.errors import ModelError, ProviderError
from realtime.metadata import INPUT_NAME, OUTPUT_NAMES, ModelMetadata
from realtime.preprocess import Letterbox, LetterboxTransform
from realtime.providers import PROVIDER_NAMES, Provider
from realtime.structures import Detections

MODELS_FOLDER = Path(__file__).parent / "models"
ERROR_SEVERITY = 3


class OnnxDetector:
    """Finds objects in pictures with an exported model."""

    def __init__(
        self,
        model: Path,
        *,
        provider: Provider = Provider.AUTO,
    ) -> None:
        """Load a model.

        Args:
            model: ONNX file written by ``python -m export onnx``.
            provider: where to run; ``AUTO`` prefers CUDA and may fall back to the CPU, the others never fall back.

        Raises:
            ModelError: the file is missing, damaged, or does not keep the contract.
            ProviderError: the provider does not work here.
        """
        if not model.is_file():
            raise ModelError(f"cannot read model {model}: not found")
        ort.disable_telemetry_events()  # pictures of people, and what is done with them, are nobody's business
        self.fallback_reason: str | None = None
        """Why ``AUTO`` took the CPU, for one line to the user."""
        self.provider = Provider.CUDA if provider is Provider.AUTO else provider
        try:
            self._session = _open_session(model, self.provider)
        except ProviderError as error:
            if provider is not Provider.AUTO:
                raise
            self.fallback_reason = str(error).removeprefix("--provider cuda: ")
            self.provider = Provider.CPU
            self._session = _open_session(model, self.provider)
        self.metadata = ModelMetadata.from_props(self._session.get_modelmeta().custom_metadata_map, source=str(model))
        self.metadata.check_graph(self._session.get_inputs(), self._session.get_outputs(), source=str(model))
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
        """The second stage of ``detect``: run the network and map its boxes back."""
        boxes, scores, labels = self._session.run(OUTPUT_NAMES, {INPUT_NAME: network_input})
        used = int(np.count_nonzero(scores > 0))
        return Detections(transform.to_frame(boxes[:used]), labels[:used], scores[:used])


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


def _why_no_cuda() -> str | None:
    """Why CUDA cannot be used here, or None; asks the driver first, since onnxruntime fails loudly without it."""
    if PROVIDER_NAMES[Provider.CUDA] not in ort.get_available_providers():
        return "this onnxruntime is built without CUDA"
    try:
        ctypes.CDLL("nvcuda.dll" if platform.system() == "Windows" else "libcuda.so.1")
    except OSError:
        return "no NVIDIA driver found"
    ort.preload_dlls()
    try:
        ctypes.CDLL("cublasLt64_13.dll" if platform.system() == "Windows" else "libcublasLt.so.13")
    except OSError:
        return "the CUDA 13 libraries are missing; install them with: pip install 'facial-feature-rcnn[cuda]'"
    return None


def _open_session(model: Path, provider: Provider) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = ERROR_SEVERITY
    options.intra_op_num_threads = os.cpu_count() or 1
    if provider is not Provider.CPU:
        reason = _why_no_cuda()
        if reason is not None:
            raise ProviderError(f"--provider {provider.value}: {reason}")
        # Asked for by name, so no node may run on the CPU unnoticed.
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    name = PROVIDER_NAMES[provider]
    try:
        session = ort.InferenceSession(model, options, providers=[name])
    except Exception as error:  # onnxruntime's exceptions share no base class
        reason = " ".join(str(error).split())[:300]
        if provider is not Provider.CPU:
            raise ProviderError(
                f"--provider {provider.value}: onnxruntime cannot run {model} there: {reason}"
            ) from error
        raise ModelError(f"{model}: not a readable ONNX model: {reason}") from error
    if session.get_providers()[0] != name:
        raise ProviderError(f"--provider {provider.value}: onnxruntime fell back to {session.get_providers()[0]}")
    return session
