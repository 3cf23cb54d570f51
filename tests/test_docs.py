"""What docs/training.md shows, run as it stands there, in its order; only what would take long is made small."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from commands import commands_of, help_of, run
from face_shape import landmarks_68, landmarks_98, pts_text, wflw_line
from fakes import make_video
from tiny_data import make_data_set, noise_image, write_image

PAGE = Path(__file__).parent.parent / "docs" / "training.md"
OUTPUTS = (
    "draft/data.yaml", "draft/review.html", "corrected/data.yaml",
    "faces/data.yaml", "mine/data.yaml", "mine-voc/data.yaml", "grid.png", "runs/mine/best.pt",
    "runs/logged/loggers.json", "mlflow.db", "runs/search/search.csv", "runs/search/search.png",
    "runs/mine/confusion.png", "scores.json", "plots/precision_recall.png", "errors/index.html", "mine.onnx", "out.mp4",
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the files that the page's commands name."""
    folder = tmp_path_factory.mktemp("docs")
    make_data_set(folder)
    make_video(folder / "in.mp4", frames=6, sound="aac")
    for i in range(12):
        photo = noise_image(96, 96, seed=i)
        write_image(folder / "helen" / f"face{i}.jpg", photo)
        (folder / "helen" / f"face{i}.pts").write_text(pts_text(landmarks_68(60, (48, 40))))
        write_image(folder / "WFLW_images" / f"{i}.jpg", photo[::-1])
        write_image(folder / "photos" / f"{i}.jpg", photo)
        write_image(folder / "VOC2012" / "JPEGImages" / f"{i}.jpg", photo)
        write_image(folder / "CelebAMask-HQ" / "CelebA-HQ-img" / f"{i}.jpg", photo[:, ::-1])
        masks = folder / "CelebAMask-HQ" / "CelebAMask-HQ-mask-anno" / "0"
        for part, (x1, y1, x2, y2) in {
            "skin": (20, 10, 80, 90),
            "l_brow": (30, 30, 45, 36),
            "nose": (44, 40, 52, 60),
        }.items():
            mask = np.zeros((96, 96, 3), np.uint8)
            mask[y1:y2, x1:x2] = 255
            write_image(masks / f"{i:05}_{part}.png", mask)
        annotation = folder / "VOC2012" / "Annotations" / f"{i}.xml"
        annotation.parent.mkdir(exist_ok=True)
        box = "<bndbox><xmin>10</xmin><ymin>10</ymin><xmax>40</xmax><ymax>50</ymax></bndbox>"
        annotation.write_text(
            f"<annotation><filename>{i}.jpg</filename><size><width>96</width><height>96</height></size>"
            f"<object><name>cat</name>{box}</object></annotation>"
        )
    write_image(folder / "rooms" / "room.jpg", noise_image(96, 96, seed=99))
    lines = [wflw_line(landmarks_98(60, (48, 40)), f"{i}.jpg") for i in range(12)]
    (folder / "list_98pt_rect_attr_train.txt").write_text("\n".join(lines))
    images = ", ".join(f'{{"id": {i}, "file_name": "{i}.jpg", "width": 96, "height": 96}}' for i in range(12))
    boxes = ", ".join(
        f'{{"id": {i}, "image_id": {i}, "category_id": 7, "bbox": [5, 5, 40, 60], "iscrowd": 0}}' for i in range(12)
    )
    (folder / "instances.json").write_text(
        f'{{"images": [{images}], "annotations": [{boxes}], "categories": [{{"id": 7, "name": "cat"}}]}}'
    )
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_of_the_page_works_in_its_order(folder):
    commands = commands_of(PAGE)
    assert len(commands) >= 14
    for command in commands:
        done = run(command, folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for name in OUTPUTS:
        assert (folder / name).is_file(), name
    assert cv2.imread(str(folder / "grid.png")).std() > 10
    labels = [path.read_text() for path in (folder / "faces" / "labels").rglob("*.txt")]
    assert len(labels) == 12 + 12 + 12 + 1
    assert {int(line.split()[0]) for text in labels for line in text.splitlines()} == {0, 1, 2, 3, 4}


def test_every_option_that_the_page_names_exists():
    """In tables and text; those of other programs stand in the blocks for torchrun."""
    text = re.sub(r"```.*?```", "", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = text.replace("--logdir", "").replace("--shm-size", "")  # of TensorBoard and Docker
    known = "".join(
        help_of(f"realtime {command}")
        for command in (
            "train fit", "train check", "train preview", "train evaluate", "train predict", "train prepare pts",
            "train prepare label-studio", "label",
            "export onnx",
        )
    )  # fmt: skip
    named = set(re.findall(r"--[a-z][a-z-]+", text))
    assert len(named) > 20
    assert not {option for option in named if option not in known}


def test_defaults_in_the_table_are_those_of_fit():
    help_text = " ".join(help_of("realtime train fit").replace("│", " ").split())
    for options, defaults in re.findall(
        r"^\| ((?:`--[a-z-]+`,? ?)+) \| ([\w., -]+) \|", PAGE.read_text(), re.MULTILINE
    ):
        names, values = re.findall(r"--[a-z-]+", options), defaults.split(", ")
        if len(names) != len(values):
            continue
        for name, value in zip(names, values, strict=True):
            if not re.fullmatch(r"[\d.]+", value) or name in {"--lr", "--weight-decay", "--warmup-steps"}:
                continue
            shown = re.search(rf"{name} .*?\[default: ([\d.]+)\]", help_text)
            assert shown, name
            assert float(shown[1]) == float(value), name
