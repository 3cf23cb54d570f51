"""Graphs of untrained detectors, for times that do not depend on the weights."""

from collections.abc import Mapping
from pathlib import Path

import onnx
import torch

from export.static import StaticFasterRCNN
from export.to_onnx import trace
from realtime.letterbox import PADDING_VALUE
from realtime.metadata import ModelMetadata
from train.models.architectures import ARCHITECTURES, ModelConfig, build_model

CLASS_NAMES = ("face", "eye", "eyebrow", "nose", "mouth")


def export_untrained(path: Path, arch: str, side_px: int | None, options: Mapping[str, int]) -> Path:
    """Write the graph of a detector with random weights.

    It is not verified, and its suppression does the fewest rounds that an export ever does: how many a trained one
    needs depends on photos, of which random weights know nothing.

    Args:
        path: ONNX file.
        arch: an architecture of the train package.
        side_px: side of the square input; None for the architecture's own.
        options: of ``FasterRCNN``.
    """
    torch.manual_seed(0)
    side_px = side_px or ARCHITECTURES[arch].default_size
    model = build_model(ModelConfig(arch, CLASS_NAMES, side_px, dict(options))).eval()
    static = StaticFasterRCNN(model, (side_px, side_px)).eval()
    static.freeze([])
    metadata = ModelMetadata(
        class_names=CLASS_NAMES,
        input_wh=(side_px, side_px),
        max_detections=static.roi_heads.max_detections,
        threshold=0.5,
        min_score=static.roi_heads.min_score,
        architecture=arch,
        training={},
        padding_value=PADDING_VALUE,
    )
    proto = trace(static)
    onnx.helper.set_model_props(proto, metadata.to_props())
    onnx.save(proto, path)
    return path
