"""Reading what labelling tools export, and the way there and back of ``realtime label``."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_data import noise_image, write_image
from typer.testing import CliRunner

from realtime.cli import app
from train.data.data_yaml import load_data_config
from train.data.dataset import load_split
from train.errors import TrainError
from train.prepare.cvat import read_cvat
from train.prepare.label_studio import read_label_studio
from train.prepare.rotated import upright_box

NAMES = ("face", "eye", "eyebrow", "nose", "mouth")


@pytest.mark.parametrize(
    ("degrees", "pivot", "expected"),
    [
        (0, (0, 0), [10, 20, 30, 60]),
        (90, (20, 40), [0, 30, 40, 50]),
        (90, (10, 20), [-30, 20, 10, 40]),  # clockwise: what was to the right of the corner is below it
        (180, (10, 20), [-10, -20, 10, 20]),
        (45, (20, 40), [20 - 15 * 2**0.5, 40 - 15 * 2**0.5, 20 + 15 * 2**0.5, 40 + 15 * 2**0.5]),
    ],
)
def test_the_box_around_a_rotated_box(degrees, pivot, expected):
    assert upright_box((10, 20, 30, 60), degrees, pivot) == pytest.approx(expected)


CVAT = """<?xml version="1.0"?><annotations><version>1.1</version>
<meta><job><labels><label><name>dog</name></label><label><name>cat</name></label></labels></job></meta>
<image id="0" name="sub/a.jpg" width="200" height="96">{shapes}</image>
<image id="1" name="b.jpg" width="200" height="96"/></annotations>"""
BOX = '<box label="cat" xtl="10.5" ytl="20" xbr="30" ybr="60"/>'


def cvat(folder: Path, text: str = "", *, shapes: str = BOX) -> Path:
    for name in ("sub/a.jpg", "b.jpg"):
        write_image(folder / "images" / name, noise_image(96, 200, 0))
    path = folder / "annotations.xml"
    path.write_text(text or CVAT.format(shapes=shapes))
    return path


def test_cvat_boxes_are_in_pixels_and_classes_in_the_order_of_the_task(tmp_path):
    source = read_cvat(cvat(tmp_path), tmp_path / "images")
    assert source.class_names == ("dog", "cat")
    a, b = source.photos
    assert (a.name, a.size_wh, a.boxes.tolist(), a.classes.tolist()) == ("sub/a", (200, 96), [[10.5, 20, 30, 60]], [1])
    assert b.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("shape", "box"),
    [
        ('<box label="cat" xtl="10" ytl="20" xbr="30" ybr="60" rotation="90.0"/>', [0, 30, 40, 50]),
        ('<polygon label="cat" points="1.0,2.0;30.0,4.5;7.0,60.0"/>', [1, 2, 30, 60]),
        ('<points label="cat" points="1,2;3,4"/>', [1, 2, 3, 4]),
        ('<ellipse label="cat" cx="20" cy="30" rx="10" ry="5"/>', [10, 25, 30, 35]),
        ('<mask label="cat" rle="1" left="5" top="6" width="10" height="20"/>', [5, 6, 15, 26]),
    ],
)
def test_other_shapes_of_cvat_become_the_box_around_them(tmp_path, shape, box):
    photo = read_cvat(cvat(tmp_path, shapes=f'<tag label="dog"/>{shape}'), tmp_path / "images").photos[0]
    assert photo.boxes[0] == pytest.approx(box)
    assert photo.classes.tolist() == [1]


@pytest.mark.parametrize(
    ("shape", "problem"),
    [
        (
            '<box label="cat" xtl="a" ytl="20" xbr="30" ybr="60"/>',
            "object 'cat': expected coordinates, found a 20 30 60",
        ),
        ('<box label="cat" xtl="nan" ytl="2" xbr="3" ybr="6"/>', "object 'cat': expected coordinates, found nan 2 3 6"),
        ('<box xtl="1" ytl="2" xbr="3" ybr="6"/>', "expected a label of each shape, found none of a <box>"),
        ('<polygon label="cat" points=""/>', "object 'cat': expected coordinates, found none"),
        ('<cuboid label="cat"/>', "object 'cat': a shape <cuboid>, which has no box"),
        ('<box label="cow" xtl="1" ytl="2" xbr="3" ybr="6"/>', "label 'cow' is not one of the task (dog, cat)"),
    ],
)
def test_a_malformed_shape_of_cvat_is_named_with_its_image(tmp_path, shape, problem):
    source = read_cvat(cvat(tmp_path, shapes=shape), tmp_path / "images")
    (found,) = source.problems
    assert found.endswith(f"annotations.xml: image sub/a.jpg: {problem}")
    assert [photo.name for photo in source.photos] == ["b"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotations><track id='0'/></annotations>", "tracks of a video. Export it as 'CVAT for images 1.1'"),
        ("<annotations/>", "no <image> in it"),
        ("no", "not valid XML"),
        ("<!DOCTYPE a><annotations/>", "document type"),
        ("<annotations><image name='b.jpg'/></annotations>", "no class to learn"),
    ],
)
def test_what_is_no_export_of_cvat_is_refused(tmp_path, text, message):
    with pytest.raises(TrainError, match=message.replace("(", r"\(")):
        read_cvat(cvat(tmp_path, text), tmp_path / "images")


def region(**changes):
    value = {"x": 5, "y": 25, "width": 10, "height": 50, "rotation": 0, "rectanglelabels": ["cat"]}
    kind = changes.pop("type", "rectanglelabels")
    return {"type": kind, "original_width": 200, "original_height": 96, "value": value | changes}


def task(image="/data/upload/1/0123abcd-a.jpg", result=(), **annotation):
    return {"id": 7, "data": {"image": image}, "annotations": [{"result": list(result), **annotation}]}


def studio(folder: Path, *tasks: object) -> Path:
    write_image(folder / "images" / "sub" / "a.jpg", noise_image(96, 200, 0))
    path = folder / "export.json"
    path.write_text(json.dumps(list(tasks)))
    return path


@pytest.mark.parametrize(
    ("change", "box"),
    [
        ({}, [10, 24, 30, 72]),
        ({"rotation": 90}, [-38, 24, 10, 44]),
        ({"type": "ellipselabels", "radiusX": 5, "radiusY": 12.5, "ellipselabels": ["cat"]}, [0, 12, 20, 36]),
        ({"type": "polygonlabels", "points": [[5, 25], [10, 50]], "polygonlabels": ["cat"]}, [10, 24, 20, 48]),
    ],
)
def test_regions_of_label_studio_are_percentages(tmp_path, change, box):
    file = studio(tmp_path, task(result=[region(**change), {"type": "choices", "value": {"choices": ["x"]}}]))
    (photo,) = read_label_studio(file, tmp_path / "images", None).photos
    assert photo.boxes[0] == pytest.approx(box)


@pytest.mark.parametrize(
    "image",
    [
        "/data/upload/1/0123abcd-a.jpg",
        "/data/local-files/?d=images/sub/a.jpg",
        "/data/local-files/?d=photos%2Fimages%2Fsub%2Fa.jpg",
        "https://example.org/bucket/a.jpg",
        "sub/a.jpg",
    ],
)
def test_a_photo_is_found_by_what_label_studio_calls_it(tmp_path, image):
    (photo,) = read_label_studio(studio(tmp_path, task(image, [region()])), tmp_path / "images", None).photos
    assert (photo.path, photo.name) == (tmp_path / "images" / "sub" / "a.jpg", "sub/a")


def test_the_newest_annotation_counts_and_tasks_without_one_are_counted(tmp_path):
    old, new = ({"result": [region(x=x)], "updated_at": f"2026-01-0{x}"} for x in (1, 2))
    cancelled = {"result": [region(x=3)], "updated_at": "2026-01-03", "was_cancelled": True}
    several = task() | {"annotations": [new, old, cancelled]}
    source = read_label_studio(
        studio(tmp_path, several, task() | {"annotations": [cancelled]}), tmp_path / "images", None
    )
    (photo,) = source.photos
    assert photo.boxes[0][0] == 4
    assert source.notes == ["1 tasks without annotation left out"]


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (task("gone.jpg", [region()]), "no photo 'gone.jpg' below"),
        (task(result=[region(x="a")]), "object 'cat': expected a region with numbers"),
        (task(result=[region(x=float("nan"))]), "object 'cat': expected numbers"),
        (task(result=[region(rectanglelabels=[])]), "expected a label in 'rectanglelabels'"),
        (task(result=[region(type="brushlabels", brushlabels=["cat"])]), "'brushlabels', which has no box"),
        (task(result=["x"]), "expected a region with a 'value', found x"),
        ("x", "expected a mapping with a list 'annotations', found x"),
    ],
)
def test_a_malformed_task_of_label_studio_is_named(tmp_path, broken, problem):
    source = read_label_studio(studio(tmp_path, task(result=[region()]), broken), tmp_path / "images", None)
    (found,) = source.problems
    assert problem in found
    assert ": task " in found
    assert len(source.photos) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not valid JSON"),
        ("{}", "expected a list of tasks"),
        ('[{"image": "a.jpg", "label": []}]', "not 'JSON-MIN'"),
        ('[{"data": {"image": "a.jpg"}, "annotations": []}]', "no class to learn"),
    ],
)
def test_what_is_no_export_of_label_studio_is_refused(tmp_path, text, message):
    (file := studio(tmp_path)).write_text(text)
    with pytest.raises(TrainError, match=message):
        read_label_studio(file, tmp_path / "images", None)


def test_the_interface_gives_the_order_of_the_classes(tmp_path):
    file = studio(tmp_path, task(result=[region()]))
    (interface := tmp_path / "labels.xml").write_text("<View><L><Label value='dog'/><Label value='cat'/></L></View>")
    assert read_label_studio(file, tmp_path / "images", interface).class_names == ("dog", "cat")
    interface.write_text("<View><Label value='dog'/></View>")
    with pytest.raises(TrainError, match=r"label 'cat' is not in .*labels.xml \(dog\)"):
        read_label_studio(file, tmp_path / "images", interface)
    interface.write_text("<View/>")
    with pytest.raises(TrainError, match="no <Label value=…> in it"):
        read_label_studio(file, tmp_path / "images", interface)


def accepted(folder: Path) -> None:
    """What Label Studio exports once its user has accepted every prediction."""
    tasks = json.loads((folder / "tasks.json").read_text())
    for one in tasks:
        (prediction,) = one.pop("predictions")
        one["annotations"] = [{"result": prediction["result"], "was_cancelled": False}]
    (folder / "tasks.json").write_text(json.dumps(tasks))


def boxes_in(data: Path) -> dict[str, list[list[float]]]:
    """By image, class and relative box, sorted."""
    config = load_data_config(data)
    images = [image for split in config.splits for image in load_split(config, split)]
    return {
        image.path.stem.rpartition("_")[2]: sorted(
            [c, *b] for c, b in zip(image.classes.tolist(), _rounded(image), strict=True)
        )
        for image in images
    }


def _rounded(image) -> list[list[float]]:
    return np.round(np.asarray(image.boxes, np.float64), 4).tolist()


def test_training_reads_what_label_wrote_as_it_is(tmp_path, clip, photos):
    command = ["label", str(photos), str(clip), "--out", str(tmp_path / "out"), "--every", "48", "--model", "pico"]
    assert CliRunner().invoke(app, command).exit_code == 0
    config = load_data_config(tmp_path / "out" / "data.yaml")
    splits = {split: load_split(config, split) for split in ("train", "val")}
    images = [image for split in splits.values() for image in split]
    assert config.class_names == NAMES
    assert {image.path for image in images} == set((tmp_path / "out" / "images").iterdir())
    assert {"astronaut-000000.jpg", "astronaut-000048.jpg"} < {image.path.name for image in images}
    assert sum((image.classes == 0).sum() for image in images) >= 4
    assert splits["val"]


def test_a_single_image_is_in_both_splits(tmp_path, photos):
    command = ["label", str(photos / "astronaut.jpg"), "--out", str(tmp_path / "out"), "--model", "pico"]
    assert CliRunner().invoke(app, command).exit_code == 0
    config = load_data_config(tmp_path / "out" / "data.yaml")
    assert [len(load_split(config, split)) for split in ("train", "val")] == [1, 1]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("coco", ["coco", "{out}/instances.json", "--images", "{out}/images"]),
        ("cvat", ["cvat", "{out}/annotations.xml"]),
        ("label-studio", ["label-studio", "{out}/tasks.json", "--interface", "{out}/labels.xml"]),
    ],
)
def test_the_way_there_and_back_keeps_every_box(tmp_path, photos, train_cli, name, arguments):
    for kind in ("yolo", name):
        command = ["label", str(photos), "--out", str(tmp_path / kind), "--format", kind, "--model", "pico"]
        assert CliRunner().invoke(app, command).exit_code == 0
    if name == "label-studio":
        accepted(tmp_path / name)
    arguments = [argument.format(out=tmp_path / name) for argument in arguments]
    code, _, error = train_cli("prepare", *arguments, "--out", tmp_path / "back", "--prefix", "p")
    assert code == 0, error
    assert load_data_config(tmp_path / "back" / "data.yaml").class_names == NAMES
    expected, found = boxes_in(tmp_path / "yolo" / "data.yaml"), boxes_in(tmp_path / "back" / "data.yaml")
    assert len(expected) == len(found) == 4
    for boxes, others in zip(sorted(expected.values()), sorted(found.values()), strict=True):
        assert np.array(others).reshape(-1, 5) == pytest.approx(np.array(boxes).reshape(-1, 5), abs=2e-4)
