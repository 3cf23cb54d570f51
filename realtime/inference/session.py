"""A model opened on an execution provider of onnxruntime, all of its nodes on that provider, or the reason why not."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort

from realtime.errors import ModelError, ProviderError, one_line
from realtime.inference import cuda, tensorrt
from realtime.inference.cuda import Obstacle
from realtime.inference.gpu_settings import Engine, GpuSettings, providers_of
from realtime.inference.io_binding import BoundSession
from realtime.inference.providers import PROVIDER_NAMES, Provider
from realtime.inference.waiting import wait_aloud
from realtime.metadata import INPUT_NAME, OUTPUT_NAMES, ModelMetadata

BUILDING = "building the TensorRT engine, this takes minutes the first time"
FATAL_SEVERITY = 4
"""What goes wrong is raised; onnxruntime's own lines about it would show names out of the file unfiltered."""
SPIN_US = 1000
"""How long threads of the network that have nothing to do stay on their cores: between two of its nodes that is quicker
than to sleep and be woken, between two frames the cores are for drawing, reading and an encoder. With onnxruntime's own
limit a camera of 30 frames/s kept 1.3 cores busy in place of 0.6, at the same latency; a fifth of this costs 3 ms."""


@dataclass(frozen=True, slots=True)
class Network:
    """A session that is ready to run."""

    session: ort.InferenceSession
    metadata: ModelMetadata
    run: Callable[[np.ndarray], dict[str, np.ndarray]]
    """The outputs by name, of an input uint8 (1,H,W,3)."""
    capture_refusal: str | None = None

    @property
    def node_counts(self) -> dict[str, int]:
        """How many nodes of the graph each execution provider of onnxruntime runs."""
        return {name: kinds.total() for name, kinds in _placement(self.session).items()}


def find_obstacle(provider: Provider) -> Obstacle | None:
    """The first thing that a provider misses on this machine, or None."""
    if provider is Provider.CPU:
        return None
    return cuda.find_obstacle() or (tensorrt.find_obstacle() if provider is Provider.TENSORRT else None)


def open_network(model: Path, provider: Provider, settings: GpuSettings, threads: int) -> Network:
    """Load a model on one provider, which is not ``AUTO``.

    ``threads``: how many cores of the CPU run a node, that of the caller counted in.

    Raises:
        ModelError: the file is damaged or does not keep the contract.
        ProviderError: the provider does not work here, or not with all nodes of the model.
    """
    ort.set_default_logger_severity(FATAL_SEVERITY)
    ort.disable_telemetry_events()  # pictures of people, and what is done with them, are nobody's business
    if provider is Provider.CPU:
        return _open_on_cpu(model, threads)
    obstacle = find_obstacle(provider)
    if obstacle is not None:
        raise ProviderError(f"--provider {provider.value}: {obstacle}")
    if provider is Provider.CUDA:
        return _open_on_gpu(model, provider, settings)
    half = _open_on_cpu(model, threads).metadata.precision == "float16"
    with tensorrt.engine_for(model, half=half) as engine:
        return _open_on_gpu(model, provider, settings, engine)


def _open_on_cpu(model: Path, threads: int) -> Network:
    try:
        session = _session(model, Provider.CPU, GpuSettings(), threads=threads, strict=False)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ModelError(f"{model}: not a readable ONNX model: {one_line(error)}") from error

    def run(network_input: np.ndarray) -> dict[str, np.ndarray]:
        outputs = session.run(OUTPUT_NAMES, {INPUT_NAME: network_input})
        return dict(zip(OUTPUT_NAMES, outputs, strict=True))

    return Network(session, _checked_metadata(session, model), run)


def _open_on_gpu(model: Path, provider: Provider, settings: GpuSettings, engine: Engine | None = None) -> Network:
    """With a CUDA graph if ``settings`` want one and it can be recorded, else without."""
    refusal: Exception | None = None
    for attempt in settings.attempts():
        try:
            network = _bound_network(model, provider, attempt, engine)
        except (ModelError, ProviderError):
            raise
        except Exception as error:  # onnxruntime's exceptions share no base class
            refusal = error
        else:
            return replace(network, capture_refusal=one_line(refusal) if refusal else None)
    assert refusal
    why = _why_not_placed(model, provider, engine, refusal)
    raise ProviderError(f"--provider {provider.value}: {why}") from refusal


def _bound_network(model: Path, provider: Provider, settings: GpuSettings, engine: Engine | None) -> Network:
    def open_session() -> ort.InferenceSession:
        return _session(model, provider, settings, engine, strict=True)

    is_quick = engine is None or engine.is_built
    session = open_session() if is_quick else wait_aloud(BUILDING, open_session)
    if session.get_providers()[0] != PROVIDER_NAMES[provider]:
        raise ProviderError(f"--provider {provider.value}: onnxruntime fell back to {session.get_providers()[0]}")
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
    """Open a session; a strict one is refused by onnxruntime if one node, shape arithmetic included, needs the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = FATAL_SEVERITY
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.spin_duration_us", str(SPIN_US))
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    if strict:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    # Its Python layer would otherwise answer a failure, even in the middle of a run, with a new session on the CPU.
    return ort.InferenceSession(model, options, providers=providers_of(provider, settings, engine), enable_fallback=0)


def _why_not_placed(model: Path, provider: Provider, engine: Engine | None, error: Exception) -> str:
    """In words: which nodes would run on the CPU, if that is why a strict session was refused."""
    try:
        session = _session(model, provider, GpuSettings(cuda_graph=False), engine, strict=False)
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
        "realtime export onnx, or use --provider cpu"
    )


def _placement(session: ort.InferenceSession) -> dict[str, Counter[str]]:
    """How many nodes of each kind each execution provider runs."""
    nodes: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        nodes.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return nodes
