"""How the GPU's execution providers are set up: every choice in one place."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from realtime.inference.providers import PROVIDER_NAMES, Provider


class ConvSearch(StrEnum):
    """How cuDNN chooses an algorithm for a convolution."""

    EXHAUSTIVE = "EXHAUSTIVE"
    """Time all of them the first time that a shape occurs."""
    HEURISTIC = "HEURISTIC"
    """Use cuDNN's heuristics for the card."""


@dataclass(frozen=True, slots=True)
class GpuSettings:
    """Settings of the CUDA provider; the first applies to TensorRT too.

    ``benchmarks/gpu.py`` compares them. ``tf32`` is off for accuracy.
    """

    cuda_graph: bool = True
    """Record the kernels of a run once, and launch them together."""
    nhwc: bool = False
    """Convolutions with channels last, the layout of tensor cores. On an H200 it took longer at every size, by 6 to
    20 %: onnxruntime transposes before and after what it has in the other layout alone."""
    tf32: bool = False
    """Round the factors of float32 products to 11 bits. Box voting is such a product: a box at 600 px would move by up
    to a quarter of a pixel, also in a half-precision model, whose boxes are float32."""
    conv_search: ConvSearch = ConvSearch.HEURISTIC

    def attempts(self) -> Iterator["GpuSettings"]:
        """These settings, then the same without a CUDA graph, since recording one may fail."""
        yield self
        if self.cuda_graph:
            yield replace(self, cuda_graph=False)


@dataclass(frozen=True, slots=True)
class Engine:
    """What TensorRT builds for one model and one card."""

    folder: Path
    is_built: bool
    timings: Path
    """Folder of the timing cache of all models, which shortens the next build."""
    half: bool
    """Whether it may compute in float16, as the model does."""


def providers_of(
    provider: Provider, settings: GpuSettings, engine: Engine | None
) -> list[str | tuple[str, dict[str, str]]]:
    """The argument ``providers`` of onnxruntime's session; TensorRT needs an ``engine``."""
    if provider is Provider.CUDA:
        return [(PROVIDER_NAMES[provider], cuda_options(settings))]
    if provider is Provider.TENSORRT and engine:
        # Nodes that TensorRT lacks run on CUDA, as onnxruntime recommends. Only one provider may record a graph.
        rest = cuda_options(replace(settings, cuda_graph=False))
        return [
            (PROVIDER_NAMES[provider], tensorrt_options(settings, engine)),
            (PROVIDER_NAMES[Provider.CUDA], rest),
        ]
    return [PROVIDER_NAMES[provider]]


def cuda_options(settings: GpuSettings) -> dict[str, str]:
    """Options of onnxruntime's CUDA provider, whose booleans are 0 and 1."""
    return {
        "enable_cuda_graph": str(int(settings.cuda_graph)),
        "prefer_nhwc": str(int(settings.nhwc)),
        "use_tf32": str(int(settings.tf32)),
        "cudnn_conv_algo_search": settings.conv_search.value,
    }


def tensorrt_options(settings: GpuSettings, engine: Engine) -> dict[str, str]:
    """Options of onnxruntime's TensorRT provider, whose booleans are True and False."""
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(engine.folder),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(engine.timings),
        "trt_fp16_enable": str(engine.half),
        "trt_cuda_graph_enable": str(settings.cuda_graph),
    }
