"""One detector in a process of its own, driven by ``benchmarks/detectors.py`` through standard input and output.

Each contender is given BGR images, as a camera gives them, and returns boxes in pixels of the image: whatever lies
between belongs to its time. Imports no more than the contender needs, so that it also runs in an environment of its own
(MediaPipe pins an older numpy and OpenCV).

Lines in: ``warm``, ``time`` or ``boxes``. Lines out: JSON.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Found = list[tuple[str, float, list[float]]]
"""Class, score, xyxy in pixels of the image."""
Detect = Callable[[np.ndarray], Found]
CLASS_COUNT = 6
"""Five parts and the background: what torchvision's models are built for here."""
NEVER_SCORE = 0.9
"""Untrained models then keep no detection, which spares them the work after the second stage."""

# MediaPipe's canonical face mesh: indices of the outlines of each part.
MESH_PARTS = {
    "eye": (
        (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),
        (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),
    ),
    "eyebrow": ((70, 63, 105, 66, 107, 55, 65, 52, 53, 46), (300, 293, 334, 296, 336, 285, 295, 282, 283, 276)),
    "nose": ((168, 6, 197, 195, 5, 4, 1, 2, 98, 97, 326, 327, 48, 64, 278, 294, 129, 358),),
    "mouth": ((61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 185, 40, 39, 37, 0, 267, 269, 270, 409),),
    "face": (tuple(range(468)),),
}


def ours(model: str, provider: str = "cpu", chosen: str = "") -> Detect:
    """A detector of the app; ``chosen`` on a GPU: none, or some of graph+nhwc+tf32+exhaustive."""
    from realtime.inference.detector import OnnxDetector, find_model
    from realtime.inference.gpu_settings import ConvSearch, GpuSettings
    from realtime.inference.providers import Provider

    words = set(filter(None, chosen.split("+"))) - {"none"}
    if words - {"graph", "nhwc", "tf32", "exhaustive"}:
        raise ValueError(chosen)
    settings = GpuSettings(
        cuda_graph="graph" in words,
        nhwc="nhwc" in words,
        tf32="tf32" in words,
        conv_search=ConvSearch.EXHAUSTIVE if "exhaustive" in words else ConvSearch.HEURISTIC,
    )
    detector = OnnxDetector(find_model(model), provider=Provider(provider), settings=settings)
    if detector.cuda_graph_error:  # its time would stand under the name of another
        raise RuntimeError(detector.cuda_graph_error)
    names = detector.metadata.class_names

    def detect(image: np.ndarray) -> Found:
        found = detector.detect(image)
        rows = zip(found.labels.tolist(), found.scores.tolist(), found.boxes.tolist(), strict=True)
        return [(names[label], score, box) for label, score, box in rows]

    return detect


def torchvision_eager(name: str, size: str) -> Detect:
    """The detector of torchvision as it comes, untrained: its time hardly depends on the weights."""
    import torch

    model = _torchvision(name, int(size))

    def detect(image: np.ndarray) -> Found:
        tensor = torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            return [("face", 1.0, box) for box in model([tensor])[0]["boxes"].tolist()]

    return detect


def eager(checkpoint: str, size: str, device: str, mode: str) -> Detect:
    """A checkpoint's torchvision model, letterboxed as in the app; float32, amp, channels-last or compile."""
    import torch

    from realtime.letterbox import PADDING_VALUE, Letterbox
    from train.models.checkpoint import load_checkpoint

    if mode not in ("float32", "amp", "channels-last", "compile"):
        raise ValueError(mode)
    width, height = map(int, size.split("x"))
    loaded = load_checkpoint(Path(checkpoint))
    names = loaded.config.class_names
    letterbox = Letterbox((width, height), PADDING_VALUE)
    layout = torch.channels_last if mode == "channels-last" else torch.contiguous_format
    model: Any = loaded.build().to(device, memory_format=layout)
    if mode == "compile":
        model = torch.compile(model)
    reduced = torch.float16 if device == "cuda" else torch.bfloat16  # what autocast has on either

    @torch.inference_mode()
    def detect(image: np.ndarray) -> Found:
        boxed, transform = letterbox(image)
        bgr = torch.from_numpy(boxed[0]).to(device)
        with torch.autocast(device, reduced, enabled=mode == "amp"):
            found = model([bgr.permute(2, 0, 1).flip(0).float() / 255])[0]
        boxes, scores, labels = (found[key].float().cpu().numpy() for key in ("boxes", "scores", "labels"))
        boxes = transform.to_frame(boxes)
        rows = zip(labels.astype(int).tolist(), scores.tolist(), boxes.tolist(), strict=True)
        return [(names[label - 1], score, box) for label, score, box in rows]

    return detect


def torchvision_onnx(name: str, size: str) -> Detect:
    """The detector of torchvision through torch's older exporter, the only one that takes it, in onnxruntime."""
    import tempfile
    import warnings

    import cv2
    import onnxruntime as ort
    import torch

    side = int(size)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            _torchvision(name, side), ([torch.rand(3, side, side)],), str(path), opset_version=16, dynamo=False
        )
        options = ort.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        options.log_severity_level = 3
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    input_name = session.get_inputs()[0].name

    def detect(image: np.ndarray) -> Found:
        scale = side / max(image.shape[:2])
        small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        square = np.zeros((side, side, 3), np.uint8)  # the exported graph knows one size
        square[: small.shape[0], : small.shape[1]] = small
        tensor = np.ascontiguousarray(square[..., ::-1].transpose(2, 0, 1)).astype(np.float32) / 255
        return [("face", 1.0, box) for box in session.run(None, {input_name: tensor})[0].tolist()]

    return detect


def _torchvision(name: str, size: int) -> Any:
    from torchvision.models import detection

    build = getattr(detection, name)
    options = {"num_classes": CLASS_COUNT, "box_score_thresh": NEVER_SCORE, "min_size": size, "max_size": size}
    return build(weights=None, weights_backbone=None, **options).eval()


def facemesh(faces: str, refined: str = "") -> Detect:
    """MediaPipe FaceMesh per still image; boxes are the extents of its landmarks.

    ``refined``: not empty for the larger of its two networks, which looks at eyes and lips once more.
    """
    import cv2

    mediapipe = importlib.import_module("mediapipe")
    mesh = mediapipe.solutions.face_mesh.FaceMesh(
        static_image_mode=True, max_num_faces=int(faces), refine_landmarks=bool(refined)
    )

    def detect(image: np.ndarray) -> Found:
        result = mesh.process(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
        height, width = image.shape[:2]
        found: Found = []
        for landmarks in result.multi_face_landmarks or []:
            points = np.array([(p.x * width, p.y * height) for p in landmarks.landmark])
            for part, outlines in MESH_PARTS.items():
                for outline in outlines:
                    chosen = points[list(outline)]
                    found.append((part, 1.0, [*chosen.min(0).tolist(), *chosen.max(0).tolist()]))
        return found

    return detect


def haar() -> Detect:
    """OpenCV's cascades for frontal faces and, within them, eyes."""
    older: Any = importlib.import_module("cv2")  # OpenCV 5 has no cascades; the peers' environment has OpenCV 4
    folder = Path(older.data.haarcascades)
    faces = older.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))
    eyes = older.CascadeClassifier(str(folder / "haarcascade_eye.xml"))

    def detect(image: np.ndarray) -> Found:
        grey = older.cvtColor(image, older.COLOR_BGR2GRAY)
        found: Found = []
        for x, y, w, h in np.array(faces.detectMultiScale(grey, 1.1, 5)).reshape(-1, 4).tolist():
            found.append(("face", 1.0, [x, y, x + w, y + h]))
            upper = grey[y : y + h * 2 // 3, x : x + w]
            for ex, ey, ew, eh in np.array(eyes.detectMultiScale(upper, 1.1, 5)).reshape(-1, 4).tolist():
                found.append(("eye", 1.0, [x + ex, y + ey, x + ex + ew, y + ey + eh]))
        return found

    return detect


KINDS: dict[str, Callable[..., Detect]] = {
    "ours": ours,
    "eager": eager,
    "torchvision": torchvision_eager,
    "torchvision-onnx": torchvision_onnx,
    "facemesh": facemesh,
    "haar": haar,
}


def serve(spec: str, paths: list[Path], threads: int) -> None:
    """Answer the lines of standard input until it ends.

    Args:
        spec: a kind and its arguments, such as ``torchvision:fasterrcnn_resnet50_fpn:480``.
        paths: .npy files of uint8 (H,W,3) BGR.
        threads: cores that the process may use, whatever its library would take.
    """
    answers, sys.stdout = sys.stdout, sys.stderr  # libraries print
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    kind, *arguments = spec.split(":")
    if kind.startswith(("torchvision", "eager")):
        import torch

        torch.set_num_threads(threads)
    detect = KINDS[kind](*arguments)
    images = [np.load(path) for path in paths]
    for line in sys.stdin:
        task = line.strip()
        answer: list[Any] = []
        for image in images[:3] if task == "warm" else images:
            started = time.perf_counter()
            found = detect(image)
            answer.append(found if task == "boxes" else 1000 * (time.perf_counter() - started))
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1], [Path(line) for line in Path(sys.argv[2]).read_text().splitlines()], int(sys.argv[3]))
