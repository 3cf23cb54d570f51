"""A GPU for tests: onnxruntime's session at its boundary, with the network really run on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime as ort

from realtime.inference import session as network
from realtime.inference.io_binding import BoundSession
from realtime.inference.providers import PROVIDER_NAMES, Provider

GRAPH_OPTIONS = {"enable_cuda_graph": "1", "trt_cuda_graph_enable": "True"}


class PretendGpu:
    """What was asked of onnxruntime, and what it answers."""

    def __init__(self, monkeypatch: Any, on_open: Callable[["PretendSession"], None] = lambda _: None) -> None:
        self.opened: list[PretendSession] = []
        self.on_open = on_open
        """Called with each session; what it raises, onnxruntime raises."""
        self.fails_in_run: int | None = None
        """The run in which a session that is to record a graph fails, from 1."""
        monkeypatch.setattr(network, "unavailable_reason", lambda _provider: None)
        monkeypatch.setattr(network, "BoundSession", lambda session, _device: BoundSession(session, "cpu"))
        real = ort.InferenceSession

        def open_session(model: Path, options: Any, *, providers: list[Any], enable_fallback: int) -> Any:
            if providers == [PROVIDER_NAMES[Provider.CPU]]:
                return real(model, options, providers=providers, enable_fallback=enable_fallback)
            return PretendSession(self, model, providers)

        monkeypatch.setattr(ort, "InferenceSession", open_session)
        self.real_session = real


class PretendSession:
    """A session on a GPU's providers."""

    def __init__(self, gpu: PretendGpu, model: Path, providers: list[tuple[str, dict[str, str]]]) -> None:
        self.options = dict(providers)
        self.names = [name for name, _ in providers]
        self.runs = 0
        self._gpu = gpu
        gpu.opened.append(self)
        gpu.on_open(self)
        self._real = gpu.real_session(model, providers=[PROVIDER_NAMES[Provider.CPU]])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    @property
    def records_graph(self) -> bool:
        first = self.options[self.names[0]]
        return any(first.get(key) == value for key, value in GRAPH_OPTIONS.items())

    def get_providers(self) -> list[str]:
        return self.names

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return []

    def run_with_iobinding(self, binding: Any) -> None:
        self.runs += 1
        if self.records_graph and self.runs == self._gpu.fails_in_run:
            raise RuntimeError("CUDA failure 900: operation not permitted when stream is capturing")
        self._real.run_with_iobinding(binding)
