from functools import partial

import cv2
import numpy as np
import pytest
from fakes import stub_model

from realtime.batch.images import detect_images, find_images
from realtime.errors import SinkError, SourceError
from realtime.image_io import read_image
from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider


@pytest.fixture
def detector(tmp_path):
    (tmp_path / "model").mkdir()
    return OnnxDetector(stub_model(tmp_path / "model" / "m.onnx"), provider=Provider.CPU)


detected = partial(detect_images, on_unreadable=pytest.fail)


def picture(path, size_wh=(128, 128)):
    cv2.imwrite(str(path), np.full((size_wh[1], size_wh[0], 3), 90, np.uint8))
    return path


def test_folders_are_searched_and_files_taken_as_given(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    b, a = picture(folder / "b.png"), picture(folder / "a.JPG")
    (folder / "notes.txt").write_text("")
    single = picture(tmp_path / "single.png")
    assert find_images([single, folder]).files == [single, a, b]


def test_what_is_not_there_is_named(tmp_path):
    with pytest.raises(SourceError, match=r"nix\.png: not found"):
        find_images([tmp_path / "nix.png"])
    with pytest.raises(SourceError, match="the folder holds none"):
        find_images([tmp_path])


def test_a_file_that_is_no_image_is_refused(tmp_path):
    path = tmp_path / "a.png"
    path.write_text("no")
    with pytest.raises(SourceError, match="not a readable image"):
        read_image(path)


def test_drawn_images_are_written_under_the_same_name(tmp_path, detector):
    out = tmp_path / "out"
    out.mkdir()
    paths = [picture(tmp_path / "a.png"), picture(tmp_path / "b.jpg")]
    results = list(detected(paths, detector, threshold=0.5, out=out))
    assert [(result.path, len(result.detections)) for result in results] == [(path, 2) for path in paths]
    assert sorted(p.name for p in out.iterdir()) == ["a.png", "b.jpg"]
    assert (read_image(out / "a.png") != 90).any()


def test_the_threshold_is_applied(tmp_path, detector):
    (result,) = detected([picture(tmp_path / "a.png")], detector, threshold=0.7, out=None)
    assert len(result.detections) == 1


def test_an_original_is_never_overwritten(tmp_path, detector):
    with pytest.raises(SinkError, match="it would replace an original"):
        list(detected([picture(tmp_path / "a.png")], detector, threshold=0.5, out=tmp_path))


def test_two_images_of_one_name_do_not_replace_each_other(tmp_path, detector):
    for name in ("x", "y", "out"):
        (tmp_path / name).mkdir()
    paths = [picture(tmp_path / "x" / "a.png"), picture(tmp_path / "y" / "a.png")]
    with pytest.raises(SinkError, match="it would replace another result"):
        list(detected(paths, detector, threshold=0.5, out=tmp_path / "out"))


def test_no_original_is_overwritten_by_the_result_of_another(tmp_path, detector):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    paths = [picture(tmp_path / "x" / "a.png"), picture(tmp_path / "y" / "a.png", (64, 64))]
    before = paths[1].read_bytes()
    with pytest.raises(SinkError, match="it would replace"):
        list(detected(paths, detector, threshold=0.5, out=tmp_path / "y"))
    assert paths[1].read_bytes() == before


def test_an_image_without_suffix_has_no_drawn_copy(tmp_path, detector):
    picture(tmp_path / "a.png").rename(tmp_path / "a")
    (tmp_path / "out").mkdir()
    with pytest.raises(SinkError, match="its name does not end as an image's"):
        list(detected([tmp_path / "a"], detector, threshold=0.5, out=tmp_path / "out"))


def test_a_missing_output_folder_is_named(tmp_path, detector):
    with pytest.raises(SinkError, match=r"folder .*no does not exist"):
        list(detected([picture(tmp_path / "a.png")], detector, threshold=0.5, out=tmp_path / "no" / "out"))


def test_a_phone_photo_is_turned_upright(tmp_path):
    """EXIF orientation 6: the image is stored lying on its side."""
    lying = np.zeros((40, 80, 3), np.uint8)
    _, jpeg = cv2.imencode(".jpg", lying)
    exif = (
        b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00\x00\x00\x00\x00"
    )
    path = tmp_path / "a.jpg"
    segment = b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif
    path.write_bytes(jpeg.tobytes()[:2] + segment + jpeg.tobytes()[2:])
    assert read_image(path).shape == (80, 40, 3)


def test_what_is_no_image_is_reported_and_left_out(tmp_path, detector):
    bad = tmp_path / "bad.png"
    bad.write_text("no")
    good = picture(tmp_path / "good.png")
    told = []
    found = detect_images([bad, good], detector, threshold=0.5, out=None, on_unreadable=told.append)
    assert [result.path for result in found] == [good]
    assert [str(error) for error in told] == [f"cannot read image {bad}: not a readable image"]
