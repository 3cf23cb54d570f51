"""``export onnx --batch N``: the graph for several images finds in each what the graph for one finds."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from tiny_data import make_data_set, noise_image

from export.static import StaticFasterRCNN
from export.to_onnx import export_onnx
from export.verify import IMAGES, check_static, compare, network_input, run_batch
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.metadata import MAX_SIDE_PX, ModelMetadata
from train.data.images import read_image
from train.models.architectures import ARCHITECTURES
from train.models.checkpoint import Checkpoint
from train.models.onnx_weights import read_onnx

BATCH = 3
SIDE = 64
OUTPUTS = ("boxes", "scores", "labels")


def bgr(image: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(image[None, ..., ::-1].copy())


@pytest.fixture(scope="module")
def shipped() -> Checkpoint:
    return read_onnx(find_model("pico"))


@pytest.fixture(scope="module")
def in_batches(shipped, tmp_path_factory) -> Path:
    """``pico`` for batches, through the command line; not to be changed."""
    from typer.testing import CliRunner

    from export.cli import app

    folder = tmp_path_factory.mktemp("batch")
    shipped.save(folder / "best.pt")
    path = folder / "model.onnx"
    result = CliRunner().invoke(app, ["onnx", str(folder / "best.pt"), "-o", str(path), "--batch", str(BATCH)])
    assert result.exit_code == 0, result.output
    assert f"input 192x192, {BATCH} images in a run; verified: " in result.output
    assert f" on {len(IMAGES)} images, " in result.output
    return path


@pytest.mark.parametrize("arch", list(ARCHITECTURES))
def test_images_of_a_batch_do_not_depend_on_each_other(lively_model, arch):
    static = StaticFasterRCNN(lively_model(arch), (SIDE, 96)).eval()
    images = [bgr(noise_image(SIDE, 96, seed=100)), torch.full((1, SIDE, 96, 3), 114, dtype=torch.uint8)]
    images.append(bgr(noise_image(SIDE, 96, seed=101)))
    with torch.inference_mode():
        alone = [static(image) for image in images]
        together = static(torch.cat(images))

    assert [output.dtype for output in together] == [torch.float32, torch.float32, torch.int64]
    for i, expected in enumerate(alone):
        for output, values in zip(together, expected, strict=True):
            torch.testing.assert_close(output[i], values, rtol=1e-5, atol=0.01)
    assert all((scores > 0).sum() > 10 for _, scores, _ in (alone[0], alone[2]))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_photos_are_those_of_the_graph_for_one(in_batches, count):
    """In every place of the batch, beside photos with and without a face, and beside nothing."""
    one = ort.InferenceSession(find_model("pico"), providers=["CPUExecutionProvider"])
    batched = ort.InferenceSession(in_batches, providers=["CPUExecutionProvider"])
    photos = {path.stem: network_input(path, (192, 192)) for path in IMAGES}
    expected = {name: run_batch(one, photo)[0] for name, photo in photos.items()}
    assert (expected["astronaut_close"][1] > 0.5).sum() > 3
    assert not (expected["chelsea"][1] > 0.5).any()

    for first in range(len(photos)):
        names = (list(photos) * 2)[first : first + count]
        for name, found in zip(names, run_batch(batched, np.concatenate([photos[n] for n in names])), strict=True):
            for values, wanted in zip(found, expected[name], strict=True):
                np.testing.assert_allclose(values, wanted, rtol=1e-5, atol=1e-4, err_msg=name)


def test_the_file_says_how_many_and_is_static(in_batches):
    proto = onnx.load(in_batches)
    check_static(proto)
    metadata = ModelMetadata.from_props({prop.key: prop.value for prop in proto.metadata_props}, "m.onnx")
    rows = metadata.max_detections
    assert metadata.batch == BATCH
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in proto.graph.output}
    assert shapes == {"boxes": [BATCH, rows, 4], "scores": [BATCH, rows], "labels": [BATCH, rows]}


def test_verification_looks_at_each_image(in_batches, shipped):
    model = shipped.build()
    assert compare(in_batches, model, IMAGES, shipped.config.class_names).images == len(IMAGES) > BATCH

    with torch.no_grad():
        model.roi_heads.box_predictor.bbox_pred.bias += 0.2
    face, nothing = IMAGES[0], IMAGES[-1]
    with pytest.raises(Exception, match=f"^{face.name}: .* is missing from"):
        compare(in_batches, model, [nothing, face], shipped.config.class_names)


def test_the_app_takes_any_number_of_images(in_batches):
    one = OnnxDetector(find_model("pico"), provider=Provider.CPU)
    batched = OnnxDetector(in_batches, provider=Provider.CPU)
    photos = [np.ascontiguousarray(read_image(path)[..., ::-1]) for path in IMAGES]  # each of its own size
    assert len({photo.shape for photo in photos}) > 1

    assert batched.detect_batch([]) == []
    for count in range(1, len(photos) + 1):
        found = batched.detect_batch(photos[:count])
        assert len(found) == count
        for detections, photo in zip(found, photos, strict=False):
            expected = one.detect(photo)
            assert detections.names == expected.names
            np.testing.assert_allclose(detections.boxes, expected.boxes, atol=1e-3)
            np.testing.assert_allclose(detections.scores, expected.scores, atol=1e-5)
            np.testing.assert_array_equal(batched.detect(photo).boxes, detections.boxes)


def test_verify_scores_every_image_of_a_split(export_cli, in_batches, shipped, tmp_path):
    data = make_data_set(tmp_path / "data", train=1, val=BATCH + 1, names=shipped.config.class_names)
    outputs = [export_cli("verify", path, data)[1] for path in (find_model("pico"), in_batches)]
    assert f"{BATCH + 1} images" in outputs[0]
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(("arch", "rows"), [("pico", 96), ("nano", 100)])
def test_metadata_say_how_many_rows_there_are(lively_model, arch, rows):
    """Few proposals and classes may not make as many detections as the model allows."""
    static = StaticFasterRCNN(lively_model(arch), (SIDE, SIDE)).eval()
    with torch.inference_mode():
        _, scores, _ = static(bgr(noise_image(SIDE, SIDE, seed=100)))
    assert len(scores) == static.roi_heads.max_detections == rows


def test_for_one_image_the_graph_is_what_it_was(tmp_path):
    """Byte for byte, ``nano`` as it comes with the app: an export of its own weights."""
    path = find_model("nano")
    producer = onnx.load(path, load_external_data=False).producer_version
    if producer != torch.__version__:
        pytest.skip(f"torch {torch.__version__} names values otherwise than {producer}")
    checkpoint = read_onnx(path)

    export_onnx(checkpoint, tmp_path / "nano.onnx", size_wh=(256, 256), images=IMAGES)

    assert (tmp_path / "nano.onnx").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("batch", ["0", "-1", "1000", "two"])
def test_a_batch_that_cannot_be_is_a_usage_error(tmp_path, batch):
    from typer.testing import CliRunner

    from export.cli import app

    result = CliRunner().invoke(app, ["onnx", str(tmp_path / "best.pt"), "--batch", batch])
    assert result.exit_code == 2
    assert "--batch" in result.output


def test_more_pixels_than_the_app_takes_are_refused(export_cli, shipped, tmp_path):
    shipped.save(tmp_path / "best.pt")
    side = 4096
    most = (MAX_SIDE_PX // side) ** 2

    code, _, err = export_cli("onnx", tmp_path / "best.pt", "--size", f"{side}x{side}", "--batch", most + 1)

    assert (code, err) == (
        1, f"error: --batch {most + 1}: of {side}x{side}, the app takes up to {most} in a run\n",
    )  # fmt: skip
