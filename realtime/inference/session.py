"""A model opened on an execution provider of onnxruntime with all of its nodes there, or the reason why not."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from realtime.errors import ModelError, ProviderError, Remedy, one_line
from realtime.file_names import is_utf8
from realtime.inference import cuda, tensorrt
from realtime.inference.cuda import UnavailableReason
from realtime.inference.elapsed_time import show_elapsed_time
from realtime.inference.gpu_settings import Engine, GpuSettings, providers_of
from realtime.inference.io_binding import BoundSession
from realtime.inference.onnx_file import read_metadata_props
from realtime.inference.providers import PROVIDER_NAMES, Provider
from realtime.metadata import INPUT_NAME, OUTPUT_NAMES, ModelMetadata

BUILDING = "building the TensorRT engine, this takes minutes the first time"
FATAL_SEVERITY = 4
"""Errors are raised; onnxruntime's own log lines about them would print names from the file unfiltered."""
SPIN_US = 1000
"""How long idle threads of the network spin: between two nodes that is faster than sleeping, but between two frames the
cores are needed for drawing, reading and encoding. With onnxruntime's default, a camera at 30 frames/s kept 1.3 cores
busy instead of 0.6, at the same latency; a fifth of this value costs 3 ms."""


@dataclass(frozen=True, slots=True)
class Network:
    """A session that is ready to run."""

    session: ort.InferenceSession
    metadata: ModelMetadata
    run: Callable[[np.ndarray], dict[str, np.ndarray]]
    """Maps an input uint8 (batch,H,W,3) to the outputs by name."""
    cuda_graph_error: str | None = None
    """Why it runs without the CUDA graph that was asked for."""

    @property
    def node_counts(self) -> dict[str, int]:
        """How many nodes of the graph each execution provider of onnxruntime runs."""
        return {name: kinds.total() for name, kinds in _placement(self.session).items()}


def unavailable_reason(provider: Provider) -> UnavailableReason | None:
    """The first thing that a provider lacks on this machine, or None."""
    if provider is Provider.CPU:
        return None
    return cuda.unavailable_reason() or (tensorrt.unavailable_reason() if provider is Provider.TENSORRT else None)


def open_network(model: Path, provider: Provider, settings: GpuSettings, threads: int) -> Network:
    """Load a model on one provider, which is not ``AUTO``.

    ``threads``: how many cores of the CPU run a node, including the caller's.

    Raises:
        ModelError: the file is damaged or does not keep the contract.
        ProviderError: the provider does not work here, or not with all nodes of the model.
    """
    ort.set_default_logger_severity(FATAL_SEVERITY)
    ort.disable_telemetry_events()  # images of people, and what is done with them, stay on the machine
    if provider is Provider.CPU:
        return _open_on_cpu(model, threads)
    reason = unavailable_reason(provider)
    if reason is not None:
        raise _provider_error(provider, reason.message, reason.remedy)
    if provider is Provider.CUDA:
        return _open_on_gpu(model, provider, settings)
    with tensorrt.engine_for(model, half=_precision(model) == "float16") as engine:
        return _open_on_gpu(model, provider, settings, engine)


def _provider_error(provider: Provider, message: str, remedy: Remedy | str = "") -> ProviderError:
    return ProviderError(message, parameter="provider", value=provider.value, remedy=remedy)


def batch_of(model: Path) -> int:
    """How many images one run of a model takes, without opening it; 1 if that cannot be read."""
    try:
        return ModelMetadata.from_props(read_metadata_props(model), source=str(model)).batch
    except (OSError, ValueError, ModelError):
        return 1  # what is wrong with the file is named when it is opened


def _precision(model: Path) -> str:
    try:
        props = read_metadata_props(model)
    except (OSError, ValueError) as error:
        raise ModelError(f"{model}: not a readable ONNX model: {one_line(error)}", value=model) from error
    return ModelMetadata.from_props(props, source=str(model)).precision


def _open_on_cpu(model: Path, threads: int) -> Network:
    try:
        session = _session(model, Provider.CPU, GpuSettings(), threads=threads, strict=False)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ModelError(f"{model}: not a readable ONNX model: {one_line(error)}", value=model) from error

    def run(network_input: np.ndarray) -> dict[str, np.ndarray]:
        outputs = session.run(OUTPUT_NAMES, {INPUT_NAME: network_input})
        return dict(zip(OUTPUT_NAMES, outputs, strict=True))

    return Network(session, _checked_metadata(session, model), run)


def _open_on_gpu(model: Path, provider: Provider, settings: GpuSettings, engine: Engine | None = None) -> Network:
    """With a CUDA graph if ``settings`` ask for one and it can be recorded, else without."""
    refusal: Exception | None = None
    for attempt in settings.attempts():
        try:
            network = _bound_network(model, provider, attempt, engine)
        except (ModelError, ProviderError):
            raise
        except Exception as error:  # onnxruntime's exceptions share no base class
            refusal = error
        else:
            return replace(network, cuda_graph_error=one_line(refusal) if refusal else None)
    assert refusal
    raise _placement_error(model, provider, engine, refusal) from refusal


def _bound_network(model: Path, provider: Provider, settings: GpuSettings, engine: Engine | None) -> Network:
    def open_session() -> ort.InferenceSession:
        return _session(model, provider, settings, engine, strict=True)

    is_quick = engine is None or engine.is_built
    session = open_session() if is_quick else show_elapsed_time(BUILDING, open_session)
    if session.get_providers()[0] != PROVIDER_NAMES[provider]:
        raise _provider_error(provider, f"onnxruntime fell back to {session.get_providers()[0]}")
    metadata = _checked_metadata(session, model)
    bound = BoundSession(session, "cuda")
    bound.warm_up()
    return Network(session, metadata, bound.run)


def _checked_metadata(session: ort.InferenceSession, model: Path) -> ModelMetadata:
    metadata = ModelMetadata.from_props(session.get_modelmeta().custom_metadata_map, source=str(model))
    metadata.check_graph(session.get_inputs(), session.get_outputs(), source=str(model))
    return metadata


def _session(
    model: Path,
    provider: Provider,
    settings: GpuSettings,
    engine: Engine | None = None,
    *,
    threads: int = 1,
    strict: bool,
) -> ort.InferenceSession:
    """Open a session. A strict one fails to open if any node, shape arithmetic included, would run on the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_SEVERITY
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    # Otherwise onnxruntime's Python layer answers a failure, even in the middle of a run, with a session on the CPU.
    contents = model if is_utf8(model) else model.read_bytes()  # onnxruntime cannot be given other names
    return ort.InferenceSession(
        contents, options, providers=providers_of(provider, settings, engine), enable_fallback=0
    )


def _placement_error(model: Path, provider: Provider, engine: Engine | None, error: Exception) -> ProviderError:
    """Which nodes would run on the CPU, if that is why a strict session could not be opened."""
    cannot_run = _provider_error(provider, f"onnxruntime cannot run {model} there: {one_line(error)}")
    try:
        session = _session(model, provider, GpuSettings(cuda_graph=False), engine, strict=False)
    except Exception:  # the model, or the provider, does not work at all
        return cannot_run
    nodes = _placement(session)
    on_cpu = nodes.get(PROVIDER_NAMES[Provider.CPU], Counter())
    total = sum(kinds.total() for kinds in nodes.values())
    if session.get_providers()[0] != PROVIDER_NAMES[provider]:
        message = f"it does not start, and all {total} nodes would run on the CPU"
        return _provider_error(provider, message, Remedy("find out why", tool="doctor"))
    if not on_cpu:
        return cannot_run
    kinds = ", ".join(f"{count} {one_line(kind, 40)}" for kind, count in on_cpu.most_common(5))
    more = ", …" if len(on_cpu) > 5 else ""
    return _provider_error(
        provider,
        f"onnxruntime placed {on_cpu.total()} of {total} nodes on the CPU ({kinds}{more})",
        Remedy("export the model again", parameter="provider", values=("cpu",), tool="export", target=str(model)),
    )


def _placement(session: ort.InferenceSession) -> dict[str, Counter[str]]:
    """How many nodes of each kind each execution provider runs."""
    nodes: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return nodes
