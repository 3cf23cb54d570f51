"""The wide companion of a model: exported beside it, and calibrated with it."""

from dataclasses import replace

import onnx
import pytest
import torch

from export import companions
from export.errors import ExportError
from export.to_onnx import export_onnx
from export.verify import IMAGES
from realtime.image_io import read_image
from realtime.inference.companions import Companion
from realtime.inference.detector import OnnxDetector, companion_file
from realtime.inference.providers import Provider
from train.models.calibration import Calibration
from train.models.onnx_weights import read_onnx
from train.models.weights import shipped_path

WIDE_WH = (256, 160)
SPECIALIST = shipped_path("pico").with_stem("faces-wide")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(companions, "WIDE_WH", WIDE_WH)


def refuse(*_args, **_options):
    raise ExportError("no")


@pytest.fixture
def model(tmp_path):
    """``pico`` with a small input, and its companion."""
    checkpoint, model = read_onnx(shipped_path("pico")), tmp_path / "mine.onnx"
    export_onnx(checkpoint, model, size_wh=(128, 128), images=IMAGES[:1])
    companions.export_companion(Companion.WIDE, checkpoint, model, size_wh=WIDE_WH, images=IMAGES[:1])
    return model


def test_the_app_uses_what_the_command_writes(tmp_path, export_cli):
    out = tmp_path / "mine.onnx"
    code, printed, err = export_cli("onnx", "pico", "-o", out, "--size", "128x128", "--wide")
    assert (code, err) == (0, "")
    assert printed.splitlines()[-1].startswith(f"{tmp_path / 'mine-wide.onnx'}: ")
    detector = OnnxDetector(out, provider=Provider.CPU)
    assert detector.metadata.input_wh == (128, 128)
    assert detector.wide.metadata.input_wh == detector.tile_wh == WIDE_WH
    assert detector.wide.metadata.max_detections == companions.WIDE_DETECTIONS


def test_a_model_of_a_large_input_needs_none(tmp_path, export_cli):
    out = tmp_path / "mine.onnx"
    code, _, err = export_cli("onnx", "pico", "-o", out, "--size", "192x192", "--wide")
    assert code == 1
    assert "--wide: of no use to an input of 192x192" in err


def test_a_narrow_companion_is_smaller_and_does_less(tmp_path, export_cli):
    out = tmp_path / "mine.onnx"
    code, printed, err = export_cli("onnx", "nano", "-o", out, "--size", "192x192", "--narrow")
    assert (code, err) == (0, "")
    assert printed.splitlines()[-1].startswith(f"{tmp_path / 'mine-narrow.onnx'}: ")
    detector = OnnxDetector(out, provider=Provider.CPU)
    assert detector.narrow_wh == detector.narrow.metadata.input_wh == (128, 128)
    assert detector.narrow.metadata.class_names == detector.metadata.class_names
    assert detector.tile_wh == (192, 192)  # there is no wide one


def test_a_model_of_a_small_input_has_no_narrow_companion(tmp_path, export_cli):
    code, _, err = export_cli("onnx", "pico", "-o", tmp_path / "mine.onnx", "--size", "160x160", "--narrow")
    assert code == 1
    assert "--narrow: of no use to an input of 160x160, which is not large enough" in err


@pytest.mark.parametrize("option", ["--half", "--batch=2"])
def test_a_narrow_companion_is_for_one_frame_at_a_time_on_the_cpu(tmp_path, export_cli, option):
    code, _, err = export_cli("onnx", "nano", "-o", tmp_path / "mine.onnx", "--narrow", option)
    assert code == 1
    assert "--narrow: for one frame at a time on the CPU; leave out --half and --batch" in err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("model_wh", "narrow_wh"), [((256, 256), (192, 192)), ((320, 320), (224, 224)), ((640, 480), (480, 352))]
)
def test_the_narrow_input_has_about_half_the_pixels(model_wh, narrow_wh):
    assert companions.companion_inputs(model_wh)[Companion.NARROW] == narrow_wh


def test_a_shipped_detector_is_exported_with_its_specialist(tmp_path, export_cli):
    assert export_cli("onnx", "pico", "-o", tmp_path / "mine.onnx", "--size", "128x128", "--wide")[0] == 0
    found, shipped = (companions.read_model(path)[1] for path in (tmp_path / "mine-wide.onnx", SPECIALIST))
    assert found.class_names == shipped.class_names == ("face",)
    assert (found.training, found.calibration) == (shipped.training, shipped.calibration)
    assert found.min_score == shipped.min_score
    states = [read_onnx(path).model for path in (tmp_path / "mine-wide.onnx", SPECIALIST)]
    torch.testing.assert_close(*states)


def test_a_specialist_keeps_its_own_calibration(model):
    for companion in (SPECIALIST, companion_file(model, Companion.WIDE)):  # the second time, it is in its place
        written, is_calibrated = companions.calibrate_companion(companion, Companion.WIDE, model)
        assert (written.name, is_calibrated) == ("mine-wide.onnx", False)
        assert written.read_bytes() == SPECIALIST.read_bytes()
    assert OnnxDetector(model, provider=Provider.CPU).wide.metadata.class_names == ("face",)


def test_an_export_that_fails_leaves_a_specialist_where_it_is(model, monkeypatch):
    companions.calibrate_companion(SPECIALIST, Companion.WIDE, model)
    monkeypatch.setattr(companions, "export_onnx", refuse)
    with pytest.raises(ExportError):
        companions.export_companion(Companion.WIDE, read_onnx(SPECIALIST), model, size_wh=WIDE_WH, images=IMAGES[:1])
    assert companion_file(model, Companion.WIDE).read_bytes() == SPECIALIST.read_bytes()


def test_a_specialist_that_cannot_be_exported_is_named_before_anything_is_written(model, tmp_path, export_cli):
    model.with_stem("mine-wide").write_bytes(b"damaged")
    code, _, err = export_cli("onnx", model, "-o", tmp_path / "new.onnx", "--wide")
    assert (code, "mine-wide.onnx: not a readable ONNX file" in err) == (1, True)
    assert not (tmp_path / "new.onnx").exists()


def test_an_export_that_fails_leaves_no_companion_of_other_weights(model, monkeypatch):
    proto, metadata = companions.read_model(model)
    onnx.helper.set_model_props(proto, replace(metadata, training={"epoch": 99}).to_props())
    onnx.save(proto, model)  # as exported from another checkpoint
    monkeypatch.setattr(companions, "export_onnx", refuse)
    with pytest.raises(ExportError):
        companions.export_companion(
            Companion.WIDE, read_onnx(shipped_path("nano")), model, size_wh=WIDE_WH, images=IMAGES[:1]
        )
    assert companion_file(model, Companion.WIDE) is None


def test_a_companion_takes_over_the_calibration_of_its_model(model):
    known = Calibration(0.7, 1.6, (0.2, 0.5, 0.3, 0.4, 0.6))
    companion = companion_file(model, Companion.WIDE)
    image = read_image(IMAGES[0])
    proto, metadata = companions.read_model(model)
    for path in (model, companion):  # as before any calibration
        plain, _ = companions.read_model(path)
        companions.put_calibration(plain, None)
        onnx.save(plain, path)
    before = OnnxDetector(companion, provider=Provider.CPU).detect(image)
    companions.put_calibration(proto, known)
    onnx.helper.set_model_props(proto, replace(metadata, calibration=known.as_dict(), threshold=0.4).to_props())
    onnx.save(proto, model)

    assert companions.calibrate_companion(companion, Companion.WIDE, model) == (companion, True)

    after = OnnxDetector(model, provider=Provider.CPU).wide
    assert (after.metadata.calibration, after.metadata.threshold) == (known.as_dict(), 0.4)
    expected = known(torch.from_numpy(before.scores), torch.from_numpy(before.labels)).sort(descending=True).values
    assert len(expected)
    torch.testing.assert_close(torch.from_numpy(after.detect(image).scores), expected, rtol=0, atol=1e-5)
