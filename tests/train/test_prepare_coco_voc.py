import json

import pytest
from tiny_data import noise_image, write_image

from train.errors import TrainError
from train.prepare.coco import read_coco
from train.prepare.voc import read_voc

COCO = {
    "images": [
        {"id": 3, "file_name": "sub/a.jpg", "width": 200, "height": 96},
        {"id": 1, "file_name": "b.jpg"},
    ],
    "categories": [{"id": 7, "name": "dog"}, {"id": 2, "name": "cat "}],
    "annotations": [
        {"id": 1, "image_id": 3, "category_id": 7, "bbox": [10, 20, 30, 40]},
        {"id": 2, "image_id": 3, "category_id": 2, "bbox": [0.5, 1, 2, 3], "iscrowd": 0},
        {"id": 3, "image_id": 1, "category_id": 2, "bbox": [0, 0, 200, 96], "iscrowd": 1},
    ],
}


def write_json(tmp_path, **changes):
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(COCO | changes), encoding="utf-8")
    return path


def test_coco_boxes_are_in_pixels_and_crowds_are_counted(tmp_path):
    source = read_coco(write_json(tmp_path), tmp_path / "images")

    assert source.class_names == ("cat", "dog")  # in the order of the ids
    a, b = source.photos
    assert (a.path, a.name, a.size_wh) == (tmp_path / "images" / "sub" / "a.jpg", "sub/a", (200, 96))
    assert a.boxes.tolist() == [[10, 20, 40, 60], [0.5, 1, 2.5, 4]]
    assert a.classes.tolist() == [1, 0]
    assert (b.boxes.shape, b.size_wh) == ((0, 4), None)
    assert source.notes == ["1 crowd regions ignored"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 9}, "'image_id' 9 is not the id of an image"),
        ({"image_id": [1]}, "'image_id' [1] is not the id"),
        ({"category_id": 9}, "'category_id' 9 is not in 'categories' (2, 7)"),
        ({"bbox": [1, 2, 3]}, "expected a 'bbox' of 4 numbers x y width height, found [1, 2, 3]"),
        ({"bbox": [1, 2, 3, "4"]}, "expected a 'bbox' of 4 numbers"),
        ({"bbox": [1, 2, 3, float("nan")]}, "expected a 'bbox' of 4 numbers"),
        ({"bbox": [1, 2, 0, 4]}, "'bbox' has no area: width and height must be above 0, found [1, 2, 0, 4]"),
    ],
)
def test_malformed_coco_annotation_is_named(tmp_path, change, message):
    good = COCO["annotations"][0]
    path = write_json(tmp_path, annotations=[good, good | {"id": 55} | change])

    source = read_coco(path, tmp_path)

    left_out = [] if "image_id" in change else ["sub/a"]
    assert [p.name for p in source.photos] == [name for name in ("sub/a", "b") if name not in left_out]
    assert len(source.problems) == 1
    assert source.problems[0].startswith(f"{path}: annotation 55: {message}")


def test_malformed_coco_images_are_named(tmp_path):
    path = write_json(tmp_path, images=[*COCO["images"], {"id": 3, "file_name": "c.jpg"}, {"id": 4}, "d.jpg"])

    assert read_coco(path, tmp_path).problems == [
        f"{path}: image 3: the id of c.jpg is already that of sub/a.jpg",
        f"{path}: image 4: expected a mapping with 'file_name' and 'id', found {{'id': 4}}",
        f"{path}: image without id: expected a mapping with 'file_name' and 'id', found d.jpg",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{\n'a'", r"instances\.json:2: not valid JSON"),
        ("[1]", "found no list 'images'"),
        (json.dumps(COCO | {"annotations": None}), "found no list 'annotations'"),
        (json.dumps(COCO | {"images": []}), "'images' is empty"),
        (json.dumps(COCO | {"categories": []}), "must hold different names and ids"),
        (json.dumps(COCO | {"categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "a"}]}), "different names"),
        (json.dumps(COCO | {"categories": [{"name": "a"}]}), "must hold mappings with 'id' and 'name'"),
    ],
)
def test_another_json_file_is_refused(tmp_path, text, message):
    path = tmp_path / "instances.json"
    path.write_text(text)

    with pytest.raises(TrainError, match=message):
        read_coco(path, tmp_path)


def write_photo(path):
    return write_image(path, noise_image(96, 200, 0))


def xml(objects: str, filename: str = "a.jpg") -> str:
    size = "<size><width>200</width><height>96</height><depth>3</depth></size>"
    return f"<annotation><filename>{filename}</filename>{size}{objects}</annotation>"


def xml_object(name: str, corners: str, extra: str = "") -> str:
    tags = ("xmin", "ymin", "xmax", "ymax")
    box = "".join(f"<{tag}>{v}</{tag}>" for tag, v in zip(tags, corners.split(), strict=True))
    return f"<object><name>{name}</name>{extra}<bndbox>{box}</bndbox></object>"


def test_voc_boxes_count_from_1_and_hold_the_last_pixel(tmp_path):
    write_photo(tmp_path / "a.jpg")
    write_photo(tmp_path / "b.PNG")
    (tmp_path / "a.xml").write_text(
        xml(xml_object("dog", "1 1 200 96", "<difficult>1</difficult>") + xml_object("cat", "11 21 11 30.5"))
    )
    (tmp_path / "b.xml").write_text(xml(xml_object("dog", "2 3 4 5"), filename="moved/elsewhere.jpg"))

    source = read_voc(tmp_path, tmp_path)

    assert source.class_names == ("cat", "dog")
    a, b = source.photos
    assert a.boxes.tolist() == [[0, 0, 200, 96], [10, 20, 11, 30.5]]
    assert (a.classes.tolist(), a.size_wh) == ([1, 0], (200, 96))
    assert (b.path.name, b.boxes.tolist()) == ("b.PNG", [[1, 2, 4, 5]])
    assert source.notes == ["1 objects marked difficult kept"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<annotation><object></annotation>", "not valid XML: mismatched tag: line 1"),
        (xml("<object></object>"), "expected a <name> in each <object>, found none"),
        (xml("<object><name>dog</name></object>"), "object 'dog': expected numbers xmin ymin xmax ymax in <bndbox>"),
        (xml(xml_object("dog", "1 2 x 4")), "object 'dog': expected numbers"),
        (xml(xml_object("dog", "9 2 8 4")), "expected xmin <= xmax and ymin <= ymax, found 9 2 8 4"),
        (xml(xml_object("dog", "1 2 inf 4")), "found 1 2 inf 4"),
        (xml(xml_object("dog", "1 2 3 4"), filename="none.jpg"), "no photo 'none.jpg' in "),
        ('<!DOCTYPE a [<!ENTITY b "boom">]><annotation>&b;</annotation>', "document type (DTD), which is refused"),
    ],
)
def test_malformed_voc_file_is_named(tmp_path, text, message):
    write_photo(tmp_path / "a.jpg")
    (tmp_path / "a.xml").write_text(xml(xml_object("dog", "1 2 3 4")))
    (tmp_path / "bad.xml").write_text(text)

    source = read_voc(tmp_path, tmp_path)

    assert len(source.photos) == 1
    assert len(source.problems) == 1
    assert source.problems[0].startswith(f"{tmp_path / 'bad.xml'}: ")
    assert message in source.problems[0]


def test_voc_file_that_two_photos_may_belong_to_is_named(tmp_path):
    for suffix in ("jpg", "png"):
        write_photo(tmp_path / f"a.{suffix}")
    (tmp_path / "a.xml").write_text(xml(xml_object("dog", "1 2 3 4"), filename="moved/elsewhere.jpg"))
    (tmp_path / "b.xml").write_text(xml(xml_object("dog", "1 2 3 4"), filename="a.png"))

    source = read_voc(tmp_path, tmp_path)

    assert [photo.path.name for photo in source.photos] == ["a.png"]
    assert source.problems == [
        f"{tmp_path}/a.xml: more than one photo of this name in {tmp_path}: a.jpg, a.png. Keep one of them"
    ]


def test_voc_folders_without_annotations_or_objects_are_refused(tmp_path):
    write_photo(tmp_path / "a.jpg")
    with pytest.raises(TrainError, match="no XML files found"):
        read_voc(tmp_path, tmp_path)
    (tmp_path / "a.xml").write_text(xml(""))
    with pytest.raises(TrainError, match="1 XML files, but no <object> in them"):
        read_voc(tmp_path, tmp_path)
    with pytest.raises(TrainError, match="Name the folder of the photos with --images"):
        read_voc(tmp_path, tmp_path / "none")
