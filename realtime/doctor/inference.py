"""Models, and the execution providers that run them."""

import contextlib
import os
import re
import statistics
import tempfile
import time

import numpy as np
import onnxruntime as ort

from realtime.doctor.findings import Finding, Level
from realtime.errors import ModelError, ProviderError, one_line
from realtime.inference.cuda import INSTALL, gpus
from realtime.inference.detector import OnnxDetector, find_model, shipped_models
from realtime.inference.providers import PROVIDER_NAMES, Provider
from realtime.inference.session import unavailable_reason
from realtime.wording import error_line, remedy_text

IMAGE_HW = (480, 640)
WARM_UP_RUNS = 3
TIMED_RUNS = 30
TIMED_S = 3.0
ERROR_SEVERITY = 3


def check_models() -> list[Finding]:
    """The models that come with the app."""
    names = shipped_models()
    if not names:
        remedy = "install the app again; its models lie in realtime/models"
        return [Finding(Level.WARNING, "no model comes with this installation", remedy, {"models": []})]
    return [Finding(Level.OK, f"models that come with the app: {', '.join(names)}", data={"models": names})]


def check_provider(name: str, model: str) -> list[Finding]:
    """Run a model on one provider: whether it starts, which nodes it runs, how long an image takes."""
    provider = Provider(name)
    data: dict[str, object] = {"provider": name, "model": model, "runs": False}
    reason = unavailable_reason(provider)
    if reason:
        level = Level.NOTE if reason.is_expected else Level.WARNING
        return [Finding(level, f"{name}: {reason.message}", remedy_text(reason.remedy), data)]
    try:
        detector = OnnxDetector(find_model(model), provider=provider)
        median_ms = _median_ms(detector)
    except (ModelError, ProviderError) as error:
        loading_error = _loading_error(model, provider) if isinstance(error, ProviderError) else ""
        text = loading_error or _text(error)
        return [Finding(Level.WARNING, f"{name}: {text}", _REMEDIES[provider], data)]
    on_provider, total = detector.node_counts.get(PROVIDER_NAMES[provider], 0), sum(detector.node_counts.values())
    data |= {"runs": True, "median_ms": round(median_ms, 2), "nodes": detector.node_counts}
    if detector.cuda_graph_error:
        data |= {"cuda_graph": detector.cuda_graph_error}
    size = "x".join(map(str, detector.metadata.input_wh))
    text = f"{name}: runs {model} ({size}): {median_ms:.1f} ms per image, {on_provider} of {total} nodes on {name}"
    text += f"; without CUDA graph: {detector.cuda_graph_error}" if detector.cuda_graph_error else ""
    return [Finding(Level.OK, text, data=data)]


_REMEDIES = {
    Provider.CPU: "try another model, or install the app again",
    Provider.CUDA: f"install its libraries again: {INSTALL}, or use --provider cpu",
    Provider.TENSORRT: "needed only for --provider tensorrt: install TensorRT again, or use --provider cuda",
}


def _text(error: ModelError | ProviderError) -> str:
    """The error without the provider, which the line begins with."""
    return error.reason if error.parameter == "provider" else error_line(error)


def _loading_error(model: str, provider: Provider) -> str:
    """Why a provider's library cannot be loaded: onnxruntime only prints it to standard error, and continues."""
    ort.set_default_logger_severity(ERROR_SEVERITY)
    with tempfile.TemporaryFile() as log:
        real_stderr = os.dup(2)
        os.dup2(log.fileno(), 2)
        try:
            with contextlib.suppress(Exception):
                ort.InferenceSession(find_model(model), providers=[PROVIDER_NAMES[provider]], enable_fallback=0)
        finally:
            os.dup2(real_stderr, 2)
            os.close(real_stderr)
        log.seek(0)
        found = re.search(r"with error: (.+)", log.read().decode(errors="replace"))
    return one_line(found[1]) if found else ""


def _median_ms(detector: OnnxDetector) -> float:
    """Median milliseconds of an inference, measured for at most ``TIMED_S`` seconds after a warm-up."""
    image = np.random.default_rng(0).integers(256, size=(*IMAGE_HW, 3), dtype=np.uint8)
    network_input, transform = detector.preprocess(image)
    for _ in range(WARM_UP_RUNS):
        detector.infer(network_input, transform)
    times: list[float] = []
    ends_s = time.perf_counter() + TIMED_S
    while len(times) < TIMED_RUNS and (not times or time.perf_counter() < ends_s):
        started_s = time.perf_counter()
        detector.infer(network_input, transform)
        times.append(1000 * (time.perf_counter() - started_s))
    return statistics.median(times)


def check_gpus() -> list[Finding]:
    """The NVIDIA GPUs that the driver sees."""
    try:
        cuda_version, found = gpus()
    except OSError:
        return []
    return [
        Finding(
            Level.OK,
            f"{gpu.name}, {gpu.memory_gib:.0f} GiB, compute capability {gpu.capability[0]}.{gpu.capability[1]}; its "
            f"driver supports CUDA {cuda_version}",
            data={"name": gpu.name, "memory_gib": round(gpu.memory_gib, 1), "driver_cuda": cuda_version},
        )
        for gpu in found
    ]
