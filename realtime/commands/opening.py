"""Opening the detector and the source of a command."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from realtime.inference.providers import Provider

if TYPE_CHECKING:
    from realtime.inference.detector import OnnxDetector
    from realtime.sources.base import FrameSource

SENT_NAME = "model.onnx"
"""What a model is called on another machine."""

Source = TypeVar("Source", bound="FrameSource")


def open_detector(model: str, provider: Provider, *, concurrency: int = 1) -> "OnnxDetector":
    """Load the model of that name or path.

    ``concurrency``: frames at a time, as ``OnnxDetector`` takes it.

    Raises:
        ModelError: there is none, or it cannot be read.
        ProviderError: it does not run on ``provider`` here.
    """
    from realtime.inference.detector import OnnxDetector, find_model

    return OnnxDetector(find_model(model), provider=provider, concurrency=concurrency)


def model_files(model: str) -> dict[str, bytes] | None:
    """The contents of a model's file and of its wide companion, for other machines, by their names there.

    None for a model that comes with the app.

    Raises:
        ModelError: there is no such model.
    """
    from realtime.inference.companions import Companion, companion_name
    from realtime.inference.detector import companion_file, find_model, shipped_models

    if model in shipped_models():
        return None
    path = find_model(model)
    wide = companion_file(path, Companion.WIDE)
    sent = {SENT_NAME: path.read_bytes()}
    return sent | ({companion_name(Path(SENT_NAME), Companion.WIDE).name: wide.read_bytes()} if wide else {})


def speed_notices(detector: "OnnxDetector", model: str, *, is_live: bool = False) -> list[str]:
    """Why the detector is slower than it could be, a line for each reason.

    Args:
        detector: opened.
        model: what the user asked for.
        is_live: somebody waits for each frame.
    """
    lines = []
    if detector.fallback_reason:
        lines.append(f"running on the CPU: {detector.fallback_reason}")
    if detector.cuda_graph_error:
        lines.append(f"running without a CUDA graph, somewhat slower: {detector.cuda_graph_error}")
    if detector.provider is Provider.CPU and detector.metadata.precision == "float16":
        lines.append(f"{model} is in half precision, for GPUs: slower on the CPU than the model in float32")
    if is_live and detector.max_batch > 1:
        lines.append(f"{model} computes {detector.max_batch} images in each run: a model for one is faster here")
    return lines


def open_both(
    open_source: Callable[[], Source], load: Callable[[], "OnnxDetector"], provider: Provider
) -> tuple[Source, "OnnxDetector"]:
    """Open the source while another thread loads the model: neither needs the interpreter for long.

    A GPU's model is loaded first, by this thread, which is to run it.

    Raises:
        RealtimeError: of the source, or else of the model; the source is closed then.
    """
    from concurrent.futures import ThreadPoolExecutor

    import realtime.inference.detector  # noqa: F401 - before there are two threads that import
    from realtime.inference.cuda import unavailable_reason

    if provider is not Provider.CPU and unavailable_reason() is None:
        detector = load()
        return open_source(), detector
    with ThreadPoolExecutor(1, thread_name_prefix="load") as loader:
        loading = loader.submit(load)
        source = open_source()
    try:
        return source, loading.result()
    except BaseException:
        source.close()
        raise


def chosen_threshold(given: float | None, detector: "OnnxDetector") -> float:
    """The threshold that the user gave, or the model's own."""
    return detector.metadata.threshold if given is None else given
