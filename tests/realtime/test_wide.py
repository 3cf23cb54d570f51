"""The wide companion of a model: found by its name, opened when it is needed, and used for tiles alone."""

from pathlib import Path

import numpy as np
import pytest
from fakes import metadata, stub_model

from realtime.commands.batching import conditions_for
from realtime.commands.opening import model_files
from realtime.errors import ModelError
from realtime.inference.companions import Companion, is_specialist
from realtime.inference.detector import MODELS_FOLDER, OnnxDetector, companion_file, find_model, shipped_models
from realtime.inference.providers import Provider
from realtime.regions.detector import CloserDetector, Look, look_at
from realtime.regions.frames import detect_together
from realtime.regions.planner import FilePlanner, LivePlanner
from realtime.regions.tiles import Reach
from realtime.structures import Frame

WIDE_WH = (160, 96)
FAR_FACE, NEAR_FACE = [40.0, 40.0, 60.0, 60.0], [40.0, 10.0, 120.0, 90.0]
"""In the wide input."""


def write_pair(folder, *, training=None, class_names=("face", "eye"), face=FAR_FACE):
    """A model that finds nothing and its companion, which finds a face."""
    model = stub_model(folder / "m.onnx", rows=())
    contract = metadata(input_wh=WIDE_WH, training=training or {}, class_names=class_names)
    stub_model(folder / "m-wide.onnx", rows=[(face, 0.9, 0)], contract=contract)
    return model


def open_model(path, **options):
    return OnnxDetector(path, provider=Provider.CPU, **options)


def count_runs(network):
    """A list that grows with each run of a network."""
    runs, run = [], network.infer
    network.infer = lambda pixels, transform: runs.append(pixels.shape) or run(pixels, transform)
    return runs


def image_of(width, height):
    return np.zeros((height, width, 3), np.uint8)


def test_tiles_go_through_the_companion_and_all_else_through_the_model(tmp_path):
    network = open_model(write_pair(tmp_path))
    image = image_of(320, 192)
    looks = [Look(image), Look(image, companion=Companion.WIDE), Look(image)]
    whole, tile, again = look_at(network, looks)
    assert (len(whole), len(again)) == (0, 0)
    np.testing.assert_allclose(tile.boxes, [[80, 80, 120, 120]])


@pytest.mark.parametrize("score", [0.35, 0.9])
def test_a_large_face_that_the_whole_image_hardly_shows_gets_a_close_up_if_a_tile_shows_it(tmp_path, score):
    model = write_pair(tmp_path, face=NEAR_FACE)
    stub_model(model, rows=[([16.0, 17.0, 48.0, 49.0], score, 0)])  # the same place in the smaller input
    network = open_model(model)
    seen = count_runs(network)
    CloserDetector(network, Reach.parse("1x1")).detect(image_of(320, 192))
    assert len(seen) == (2 if score < network.metadata.threshold else 1)


def test_what_the_whole_image_shows_stays_where_a_close_up_does_not_show_a_large_face_of_a_tile(tmp_path):
    model = write_pair(tmp_path, face=NEAR_FACE)
    stub_model(model, rows=[([28.0, 28.0, 36.0, 36.0], 0.8, 1)])
    network = open_model(model)
    seen = count_runs(network)
    found = CloserDetector(network, Reach.parse("1x1")).detect(image_of(320, 192))
    assert (len(seen), found.names) == (2, ["eye"])


@pytest.mark.parametrize("face", [FAR_FACE, NEAR_FACE])
def test_what_only_a_tile_shows_is_looked_at_again_and_dropped_if_the_close_up_does_not_show_it(tmp_path, face):
    network = open_model(write_pair(tmp_path, face=face))
    seen = count_runs(network)
    assert len(CloserDetector(network, Reach.parse("1x1")).detect(image_of(320, 192))) == 0
    assert len(seen) == 2  # the whole image and a close-up


def test_the_companion_is_opened_by_the_first_tile(tmp_path):
    network = open_model(write_pair(tmp_path), concurrency=2)
    assert network.tile_wh == WIDE_WH
    (tmp_path / "m-wide.onnx").write_bytes(b"damaged")
    network.detect(image_of(320, 192))  # the whole image needs none
    with pytest.raises(ModelError, match=r"m-wide\.onnx"):
        CloserDetector(network, Reach.parse("1x1")).detect(image_of(320, 192))


def test_a_model_alone_looks_at_its_tiles_itself(tmp_path):
    network = open_model(stub_model(tmp_path / "m.onnx"))
    assert (network.tile_wh, network.wide) == ((64, 64), None)
    looks = look_at(network, [Look(image_of(64, 64), companion=Companion.WIDE)])
    assert len(looks[0]) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"images_seen": 5}},
        {"class_names": ("face", "nose")},
        {"class_names": ("eye",)},
    ],
)
def test_a_companion_with_other_weights_is_refused(tmp_path, change):
    model = write_pair(tmp_path, **change)
    with pytest.raises(ModelError, match=r"m-wide\.onnx: holds other weights than m\.onnx") as raised:
        open_model(model)
    assert "export both together" in str(raised.value.remedy)


@pytest.mark.parametrize(
    ("kind", "own", "expected"),
    [
        (Companion.WIDE, ("face",), True),
        (Companion.WIDE, ("face", "eye"), False),
        (Companion.WIDE, ("eye",), False),
        (Companion.NARROW, ("face",), False),
    ],
)
def test_a_specialist_is_for_tiles_and_knows_faces_alone(kind, own, expected):
    model = metadata(class_names=("face", "eye", "glasses"))
    assert is_specialist(metadata(class_names=own), kind, model) == expected


def test_the_companion_of_a_model_of_faces_has_its_weights(tmp_path):
    stub_model(tmp_path / "m.onnx", contract=metadata(class_names=("face",), training={"epoch": 1}), rows=())
    stub_model(tmp_path / "m-wide.onnx", contract=metadata(class_names=("face",), training={"epoch": 2}), rows=())
    with pytest.raises(ModelError, match="holds other weights"):
        open_model(tmp_path / "m.onnx")


def test_a_specialist_has_weights_and_a_list_of_classes_of_its_own(tmp_path):
    contract = metadata(class_names=("eye", "nose", "face"), training={"epoch": 1})
    model = stub_model(tmp_path / "m.onnx", rows=[], contract=contract)
    of_faces = metadata(class_names=("face",), training={"epoch": 9}, input_wh=WIDE_WH)
    stub_model(tmp_path / "m-wide.onnx", rows=[(FAR_FACE, 0.9, 0)], contract=of_faces)
    whole, tile = look_at(open_model(model), [Look(image_of(320, 192)), Look(image_of(320, 192), Companion.WIDE)])
    assert tile.class_names == whole.class_names == ("eye", "nose", "face")
    assert (tile.names, tile.labels.tolist()) == (["face"], [2])


def test_a_companion_that_is_no_model_is_refused(tmp_path):
    model = write_pair(tmp_path)
    (tmp_path / "m-wide.onnx").write_bytes(b"not a model at all")
    with pytest.raises(ModelError, match=r"m-wide\.onnx"):
        open_model(model)


def test_the_shipped_detectors_have_companions_which_are_no_models_of_their_own():
    assert not any(name.endswith("-wide") for name in shipped_models())
    for name in shipped_models():
        network = open_model(find_model(name))
        assert network.wide.metadata.input_wh == network.tile_wh == (640, 384)
        assert (network.wide.metadata.class_names, network.wide.metadata.max_detections) == (("face",), 200)
        assert network.wide.detect(image_of(64, 64)).class_names == network.metadata.class_names
        assert network.wide.wide is None
    with pytest.raises(ModelError, match="neither a file nor a model"):
        find_model("faces-wide")


def test_a_shipped_detector_has_its_companion_however_its_file_is_named(monkeypatch):
    monkeypatch.chdir(MODELS_FOLDER.parent)
    assert companion_file(Path("models/nano.onnx"), Companion.WIDE) == Path("models/faces-wide.onnx")


def test_shipped_files_may_be_links_as_some_installers_make_them(tmp_path, monkeypatch):
    for name in ("nano", "faces-wide"):
        (tmp_path / f"{name}.onnx").symlink_to(MODELS_FOLDER / f"{name}.onnx")
    monkeypatch.setattr("realtime.inference.detector.MODELS_FOLDER", tmp_path)
    assert companion_file(find_model("nano"), Companion.WIDE) == tmp_path / "faces-wide.onnx"


def test_a_model_called_pico_elsewhere_has_a_companion_of_its_own_alone(tmp_path):
    model = stub_model(tmp_path / "pico.onnx")
    stub_model(tmp_path / "faces-wide.onnx", contract=metadata(class_names=("face",)))
    assert open_model(model).wide is None


def test_files_are_looked_at_in_wide_tiles_and_live_frames_are_not(tmp_path):
    network = open_model(write_pair(tmp_path))
    frame = Frame(image_of(320, 192), 0, 0.0, 0.0)
    file, live = FilePlanner(network.metadata, Reach(), network.tile_wh), LivePlanner(network.metadata, Reach())
    runs = count_runs(network.wide)
    detect_together(network, [(frame, live.plan(frame))])
    assert not runs
    detect_together(network, [(frame, file.plan(frame))])
    assert runs


def test_several_images_in_a_run_and_tiles_one_by_one_keep_their_order(tmp_path):
    contract = metadata(batch=4)
    stub_model(tmp_path / "m.onnx", contract=contract)
    stub_model(tmp_path / "m-wide.onnx", rows=[(FAR_FACE, 0.9, 0)], contract=metadata(input_wh=WIDE_WH))
    network = open_model(tmp_path / "m.onnx")
    image = image_of(320, 192)
    looks = [Look(image), Look(image, companion=Companion.WIDE), Look(image), Look(image, companion=Companion.WIDE)]
    assert [len(found) for found in look_at(network, looks)] == [2, 1, 2, 1]


def test_batches_depend_on_the_companion_and_take_it_to_other_machines(tmp_path):
    model = write_pair(tmp_path)
    with_companion, sent = conditions_for(str(model), {}), model_files(str(model))
    assert list(sent) == ["model.onnx", "model-wide.onnx"]
    assert sent["model-wide.onnx"] == (tmp_path / "m-wide.onnx").read_bytes()
    (tmp_path / "m-wide.onnx").unlink()
    assert conditions_for(str(model), {}) != with_companion
    assert list(model_files(str(model))) == ["model.onnx"]
    assert model_files("nano") is None


def test_a_shipped_detector_is_sent_by_its_path_with_its_specialist(tmp_path):
    for name, content in model_files(str(find_model("mobile"))).items():
        (tmp_path / name).write_bytes(content)
    network = open_model(tmp_path / "model.onnx")
    assert network.metadata.input_wh == (320, 320)
    assert network.wide.metadata.class_names == ("face",)


def test_batches_of_a_shipped_detector_depend_on_its_specialist(tmp_path, monkeypatch):
    with_specialist = conditions_for("pico", {})
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("pico", "faces-wide"):
        (folder / f"{name}.onnx").write_bytes((MODELS_FOLDER / f"{name}.onnx").read_bytes())
    monkeypatch.setattr("realtime.inference.detector.MODELS_FOLDER", folder)
    assert conditions_for("pico", {}) == with_specialist
    stub_model(folder / "faces-wide.onnx")
    assert conditions_for("pico", {}) != with_specialist
