"""`train quick`: the split that it makes, its advice, what it compares, and the whole of it by a clock that counts."""

import itertools
import json
import shutil
import signal
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from tiny_data import make_data_set, noise_image, write_image
from typer.testing import CliRunner

import export.companions
import export.to_onnx
from export.errors import ExportError
from train.cli import app, run_cli
from train.commands.quick import ERRORS, MODEL
from train.data.data_yaml import load_data_config
from train.data.dataset import LabelledImage, load_split
from train.errors import TrainError
from train.evaluation.evaluate import Detected
from train.evaluation.matching import Boxes
from train.evaluation.predict import outcome
from train.loop import closing_time, wall_clock
from train.loop.interrupt import InterruptedRunError
from train.loop.options import FitOptions
from train.loop.run import Run
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import Checkpoint, load_checkpoint
from train.models.class_rows import PREDICTOR
from train.models.onnx_weights import read_onnx
from train.models.weights import shipped_path
from train.quick.advice import error_text, warnings_of, what_would_help
from train.quick.card import Forgetting, Result, card_text, scores_rows
from train.quick.compare import Rated, agreement, rate, unlabelled
from train.quick.run import CROWD, KEPT, LR, SMALL_SHARE, evenly
from train.quick.split import usable_data

NAMES = ("face", "eye")
FACE, EYE = (10.0, 10, 50, 50), (20.0, 20, 30, 26)
SMALL = ("--time", "20s", "--size", "64", "--workers", "0", "--device", "cpu")


def boxes(*found: tuple[tuple[float, ...], int], score: float = 1.0) -> Boxes:
    """Boxes xyxy with labels."""
    corners = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    return Boxes(corners, np.array([label for _, label in found], np.int64), np.full(len(found), score, np.float32))


def rated(*images: tuple[Boxes, Boxes], threshold: float = 0.5) -> Rated:
    """A detector that finds the second of each pair where the first is labelled."""
    found = (Detected(truth, predicted, np.ones(len(truth.labels), np.float32)) for truth, predicted in images)
    return Rated(tuple(found), threshold, NAMES, 64)


def labelled(*classes: int) -> LabelledImage:
    corners = np.tile(np.array([[0.1, 0.1, 0.5, 0.5]], np.float32), (len(classes), 1))
    return LabelledImage(Path("a.jpg"), corners, np.array(classes, np.int64))


class TestSplit:
    def test_a_val_split_of_the_user_is_used(self, tiny_yaml, tmp_path):
        used = usable_data(load_data_config(tiny_yaml), tmp_path)
        assert (used.config.path, used.made_because) == (tiny_yaml, "")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        ("break_val", "reason"),
        [
            (lambda text: text.replace("val: images/val\n", ""), "there is no split 'val'"),
            (lambda text: text.replace("val: images/val", "val: images/train"), "split 'val' has images of 'train'"),
            (lambda text: text.replace("val: images/val", "val: images/empty"), "split 'val' has no labelled box"),
        ],
    )
    def test_of_five_images_one_is_kept_where_val_is_of_no_use(self, tmp_path, break_val, reason):
        data = make_data_set(tmp_path / "data", train=20)
        write_image(tmp_path / "data/images/empty/a.png", noise_image(64, 64, seed=1))
        data.write_text(break_val(data.read_text()))
        out = tmp_path / "out"
        out.mkdir()

        used = usable_data(load_data_config(data), out)

        assert used.made_because == reason
        train, val = load_split(used.config, "train"), load_split(used.config, "val")
        assert len(val) == pytest.approx(0.2 * (len(train) + len(val)), abs=1)
        assert not {i.path for i in train} & {i.path for i in val}
        for images in (train, val):
            assert any(len(i.classes) for i in images)
            assert not all(len(i.classes) for i in images)  # those without objects are divided too
        again = usable_data(load_data_config(data), out)
        assert [i.path for i in load_split(again.config, "val")] == [i.path for i in val]

    def test_copies_and_frames_that_resemble_each_other_stay_together(self, tmp_path):
        lines = "0 0.5 0.5 0.5 0.5\n"
        for scene in range(8):
            photo = noise_image(96, 96, seed=scene)
            for frame in range(3):
                image = cv2.convertScaleAbs(photo, alpha=1 - 0.1 * frame)
                path = write_image(tmp_path / f"images/all/{'abcdefgh'[scene]}{frame}{7 * frame}.png", image)
                label = tmp_path / f"labels/all/{path.stem}.txt"
                label.parent.mkdir(parents=True, exist_ok=True)
                label.write_text(lines)
        (tmp_path / "data.yaml").write_text("train: images/all\nnames: [face, eye]\n")

        used = usable_data(load_data_config(tmp_path / "data.yaml"), tmp_path)

        scenes = [{i.path.name[0] for i in load_split(used.config, split)} for split in ("train", "val")]
        assert all(scenes)
        assert not scenes[0] & scenes[1]

    def test_one_labelled_image_cannot_be_divided(self, tmp_path):
        data = make_data_set(tmp_path, train=1, val=1)
        data.write_text(data.read_text().replace("val: images/val", "val: images/train"))
        with pytest.raises(TrainError, match=r"1 labelled images are too few .* Label more"):
            usable_data(load_data_config(data), tmp_path)

    def test_a_val_split_that_is_named_but_not_there_is_an_error(self, tmp_path):
        data = make_data_set(tmp_path)
        data.write_text(data.read_text().replace("val: images/val", "val: images/nothing"))
        with pytest.raises(TrainError, match="nothing"):
            usable_data(load_data_config(data), tmp_path)


class TestAdvice:
    def test_too_few_images_and_boxes_are_named(self):
        train = [labelled(0, 1, 1)] * 12 + [labelled()]
        nothing = rated(*[(boxes(), boxes())] * 13)
        lines = warnings_of(train, NAMES, "nano", ("face", "eye", "nose"), nothing)
        assert len(lines) == 3
        assert lines[0].startswith("12 labelled images to train on are too few")
        assert "face (12), eye (24)" in lines[1]
        assert lines[2] == "not among your classes, and so no longer found: nose"

    def test_enough_of_all_gives_no_warning(self):
        train = [labelled(0, 1)] * 60 + [labelled()] * 5
        found = rated(*[(boxes((FACE, 1)), boxes((FACE, 1)))] * 60, *[(boxes(), boxes())] * 5)
        assert warnings_of(train, NAMES, "nano", NAMES, found) == []

    def test_known_classes_without_labels_are_found_before_they_are_unlearnt(self):
        """Only the glasses of these images are labelled."""
        names = ("face", "glasses")
        train = [labelled(1)] * 60 + [labelled()] * 5
        found = rated(*[(boxes((EYE, 2)), boxes((FACE, 1), score=0.9))] * 60, *[(boxes(), boxes())] * 5)
        [few, unlearnt] = warnings_of(train, names, "nano", ("face",), found)
        assert "face (0)" in few
        assert "face in 60 of 60 images" in unlearnt
        assert "realtime label" in unlearnt

    def test_a_false_detection_now_and_then_is_no_missing_label(self):
        train = [labelled(0, 1)] * 60 + [labelled()] * 5
        right, false = (boxes((FACE, 1)), boxes((FACE, 1))), (boxes(), boxes((FACE, 1)))
        assert warnings_of(train, NAMES, "nano", NAMES, rated(*[right] * 60, *[false] * 5)) == []

    def test_the_weakest_class_and_small_objects_are_named(self):
        images = [(boxes((FACE, 1), ((20.0, 20, 26, 25), 2)), boxes((FACE, 1)))] * 12
        lines = what_would_help(rated(*images).metrics, [], ["a warning"])
        assert lines[0] == "a warning"
        assert "eye is the weakest class (F1 0.00)" in lines[1]

    def test_an_image_is_among_the_worst_for_a_reason(self):
        truth = boxes((FACE, 1), (EYE, 2), ((32.0, 20, 42, 26), 2))
        assert error_text(outcome(Path("a"), truth, boxes((FACE, 1))), NAMES) == "missed: 2 eye"
        both = error_text(outcome(Path("a"), truth, boxes((EYE, 2), ((60.0, 60, 63, 63), 1))), NAMES)
        assert both == "missed: face, eye; found but not labelled: face"
        assert error_text(outcome(Path("a"), truth, truth), NAMES) == "all found"


class TestComparison:
    def test_classes_are_compared_by_name(self, tiny_yaml):
        """A detector of 'disc, box' is rated on labels of 'box, disc'; its third class does not count."""
        names = ("blue disc", "red box", "other")
        config = ModelConfig("nano", names, 64, {"box_score_thresh": 0.0})
        images = load_split(load_data_config(tiny_yaml), "val")
        model = build_model(config).eval()
        found = rate(
            Checkpoint(config, model.state_dict(), {}), images, size=64, class_names=("red box", "blue disc"),
            device=next(model.parameters()).device,
        )  # fmt: skip
        own = rate(
            Checkpoint(config, model.state_dict(), {}), images, size=64, class_names=names,
            device=next(model.parameters()).device,
        )  # fmt: skip
        for renamed, as_is in zip(found.found, own.found, strict=True):
            for old, new in ((1, 2), (2, 1)):
                expected = as_is.predicted.scores[as_is.predicted.labels == old]
                assert renamed.predicted.scores[renamed.predicted.labels == new].tolist() == expected.tolist()
            assert set(renamed.predicted.labels.tolist()) <= {1, 2}

    def test_what_is_labelled_is_no_part_of_what_may_be_forgotten(self):
        found = rated((boxes((FACE, 1)), boxes((FACE, 1), (EYE, 2))), (boxes(), boxes((EYE, 2), score=0.4)))
        assert [b.labels.tolist() for b in unlabelled(found)] == [[2], []]

    def test_agreement_counts_boxes_of_the_first_that_the_second_finds(self):
        first = [boxes((FACE, 1), (EYE, 2)), boxes((FACE, 1))]
        second = [boxes((FACE, 1), (FACE, 2)), boxes()]
        assert [(a.name, a.boxes, a.found_too) for a in agreement(first, second, ("face", "eye", "nose"))] == [
            ("face", 2, 1), ("eye", 1, 0),
        ]  # fmt: skip

    def test_images_are_chosen_from_all_over(self):
        assert evenly(list(range(10)), 4) == [0, 3, 6, 9]
        assert evenly([1, 2], 4) == [1, 2]


def result_of(before: Rated | None, after: Rated, new: tuple[str, ...] = ()) -> Result:
    options = asdict(FitOptions.with_defaults(arch="nano", weights="nano", time="1m"))
    info = {
        "data": "data.yaml", "train_images": 5, "train_sha256": "f" * 64, "images_seen": 80, "versions": {"torch": "2"},
        "options": options,
    }  # fmt: skip
    forgotten = Forgetting([], 0, agreement([boxes((FACE, 1))], [boxes()], NAMES), 4, ("nose",))
    metrics = before.metrics if before else None
    return Result("nano", metrics, after.metrics, new, forgotten, [], ["label more"], "val", info)


class TestCard:
    def test_the_scores_stand_side_by_side_and_new_classes_have_none_before(self):
        truth = boxes((FACE, 1), (EYE, 2))
        result = result_of(rated((truth, boxes())), rated((truth, truth)), new=("eye",))
        assert scores_rows(result) == [
            ("face", "1", "0.000", "1.000", "0.000", "1.000"),
            ("eye", "1", "new", "1.000", "new", "1.000"),
            ("mean of those that nano knows", "", "0.000", "1.000", "0.000", "1.000"),
        ]

    def test_it_says_how_to_use_it_what_was_forgotten_and_the_terms(self):
        truth = boxes((FACE, 1))
        text = card_text(result_of(rated((truth, truth)), rated((truth, truth))), "mine.onnx")
        for words in (
            "realtime cam --model mine.onnx", "nose", "0 of 1 (face)", "label more", "LICENSE-WEIGHTS.md", "5 images",
        ):  # fmt: skip
            assert words in text

    def test_training_that_made_nothing_better_is_known(self):
        truth = boxes((FACE, 1))
        assert not result_of(rated((truth, truth)), rated((truth, boxes()))).is_better
        assert result_of(rated((truth, boxes())), rated((truth, truth))).is_better
        assert result_of(None, rated((truth, boxes()))).is_better


@pytest.fixture
def ticking(monkeypatch):
    """A clock that goes on by a second whenever it is read."""
    ticks = itertools.count()
    monkeypatch.setattr(wall_clock, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    monkeypatch.setattr(closing_time, "WRITING_S", 0.0)


@pytest.fixture
def exported(monkeypatch):
    """What was to be exported; the export itself has tests of its own. There is no companion of so small a model."""
    calls = []

    def export_onnx(checkpoint, out, *, size_wh, images):
        calls.append((checkpoint, size_wh, images))
        out.write_bytes(b"a model")

    def export_companion(*_args, **_options):
        raise ExportError("the graph does not find what the model finds")

    monkeypatch.setattr(export.to_onnx, "export_onnx", export_onnx)
    monkeypatch.setattr(export.companions, "export_companion", export_companion)
    return calls


def quick(data: Path, out: Path, *more: str):
    return CliRunner().invoke(app, ["quick", str(data), "--out", str(out), *SMALL, *more])


@pytest.mark.usefixtures("ticking")
def test_from_a_folder_of_labels_to_a_model_and_its_card(tmp_path, exported):
    data = make_data_set(tmp_path, train=12, names=("face", "glasses"))
    data.write_text(data.read_text().replace("val: images/val", "val: images/train"))
    out = tmp_path / "mine"

    result = quick(data, out)

    assert result.exit_code == 0, result.output
    for words in (
        "split 'val' has images of 'train': one image in five is kept to validate on",
        "labelled images to train on are too few", "new classes, which begin at random: glasses",
        "not among your classes, and so no longer found: eye, eyebrow, nose, mouth",
        "F1 before", "what would help most:",
        "warning: no wide companion: the graph does not find what the model finds",
        f"Next: realtime cam --model {out / MODEL}",
    ):  # fmt: skip
        assert words in result.output, result.output
    [(checkpoint, size_wh, images)] = exported
    assert size_wh == (64, 64)
    assert checkpoint.config.class_names == ("face", "glasses")
    assert any(path.is_relative_to(tmp_path) for path in images)
    assert (out / ERRORS / "index.html").is_file()
    card = (out / "mine.md").read_text()
    assert "| face |" in card
    assert ".png: missed: " in card
    assert str(tmp_path) not in card
    options = json.loads((out / "run/run.json").read_text())["options"]
    assert options["weights"] == "nano"
    assert options["freeze_norms"] is True
    assert options["lr"] == LR
    assert is_mean(out, new=[1])
    assert load_checkpoint(out / "mine.pt").config.calibration is not None

    again = quick(data, out)
    assert again.exit_code == 1
    assert "exists: go on with --resume, or choose another --out" in str(again.exception)


@pytest.mark.usefixtures("ticking")
def test_a_run_that_was_stopped_goes_on_and_is_finished(tmp_path, exported, monkeypatch, capsys):
    data, out = make_data_set(tmp_path, train=6, names=("nose", "mouth")), tmp_path / "mine"
    train = Run.fit

    def stopped(run: Run, **_: object) -> None:
        run.checkpoint(with_resume=True).save(run.out / "last.pt")
        raise InterruptedRunError(signal.SIGTERM, "stopped")

    monkeypatch.setattr(Run, "fit", stopped)
    monkeypatch.setattr("sys.argv", ["train", "quick", str(data), "--out", str(out), *SMALL])
    with pytest.raises(SystemExit) as ended:
        run_cli()
    assert ended.value.code == 128 + signal.SIGTERM
    assert f"go on with: realtime train quick {data} --out {out} --resume" in capsys.readouterr().err
    assert not exported
    monkeypatch.setattr(Run, "fit", train)
    begun = (out / "run/start.pt").rename(out / "start.pt")
    refused = quick(data, out, "--resume")
    assert "start.pt is missing, with which the run began. Begin anew" in str(refused.exception)
    begun.rename(out / "run/start.pt")

    result = quick(data, out, "--resume", "--time", "5s")

    assert result.exit_code == 0, result.output
    assert len(exported) == 1
    options = load_checkpoint(out / "run/best.pt").info["options"]
    assert (options["time"], options["lr"]) == ("20s", LR)
    assert (options["crowd"], options["small_share"]) == (CROWD, SMALL_SHARE)
    assert is_mean(out)
    shipped = read_onnx(shipped_path("nano")).config.calibration
    nose, mouth = shipped.factors[3:]  # val has too few boxes to say much else
    found = load_checkpoint(out / "mine.pt").config.calibration
    assert (found.a, found.b) == pytest.approx((shipped.a, shipped.b), rel=0.1)
    assert found.factors[0] / found.factors[1] == pytest.approx(nose / mouth, rel=0.1)


def is_mean(out: Path, new: Sequence[int] = ()) -> bool:
    """Whether what is exported lies between the detector and what training made of it, but for rows of new classes."""
    mine, begun, best = (load_checkpoint(out / name) for name in ("mine.pt", "run/start.pt", "run/best.pt"))
    assert any(not torch.equal(begun.model[name], best.model[name]) for name in best.model)
    rows = [class_id + 1 for class_id in new]
    count = len(best.config.class_names) + 1
    for name, value in best.model.items():
        if not value.is_floating_point():
            continue
        expected = KEPT * begun.model[name] + (1 - KEPT) * value
        if name.startswith(PREDICTOR):
            expected.unflatten(0, (count, -1))[rows] = value.unflatten(0, (count, -1))[rows]
        if not torch.allclose(mine.model[name], expected, atol=1e-6):
            return False
    return True


@pytest.mark.usefixtures("ticking", "exported")
def test_a_detector_none_of_whose_classes_is_wanted_stays_as_it_was_trained(tmp_path):
    data, out = make_data_set(tmp_path, train=6, names=("wheel", "door")), tmp_path / "mine"
    result = quick(data, out)
    assert result.exit_code == 0, result.output
    mine, best = load_checkpoint(out / "mine.pt"), load_checkpoint(out / "run/best.pt")
    assert all(torch.equal(mine.model[name], best.model[name]) for name in best.model)
    assert "warning: val has too few detections to calibrate scores (20 right and 20 wrong ones)" in result.output


@pytest.mark.usefixtures("ticking")
def test_the_folder_of_the_data_set_may_be_that_of_the_output(tmp_path, exported):
    data = make_data_set(tmp_path, train=12)
    data.write_text(data.read_text().replace("val: images/val\n", ""))
    text = data.read_text()

    result = quick(data, tmp_path)

    assert result.exit_code == 0, result.output
    assert data.read_text() == text
    assert len(exported) == 1


def test_without_labels_nothing_is_begun(tmp_path):
    data = make_data_set(tmp_path)
    shutil.rmtree(tmp_path / "labels")
    result = quick(data, tmp_path / "mine")
    assert result.exit_code == 1
    assert "too few" in str(result.exception)
    assert not (tmp_path / "mine" / "run").exists()
