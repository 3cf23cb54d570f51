import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from tiny_data import CLASS_NAMES, make_data_set
from torch import nn
from typer.testing import CliRunner

import realtime
import train.loop.run
import train.loop.run_log
from train.cli import app
from train.data.data_yaml import load_data_config
from train.distributed import World
from train.errors import TrainError
from train.evaluation.matching import Boxes
from train.evaluation.metrics import evaluate_boxes
from train.evaluation.plots import plot_curves
from train.loop.engine import Step, train_steps
from train.loop.interrupt import Interrupt
from train.loop.loading import Batch, first_augmented_images
from train.loop.options import FitOptions
from train.loop.run import Run, resumed_run
from train.loop.train_state import TrainState, averaged_model, build_train_state, make_scheduler
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import FORMAT, VERSION, Checkpoint, load_checkpoint
from train.models.targets import pad_targets

ROOT = Path(__file__).parents[2]
EPOCHS, STEPS = 3, 3
"""Of the small runs here: six images in batches of two."""
OPTIONS = FitOptions(arch="nano", weights="none", size=64, epochs=EPOCHS, batch_size=2, step_epochs=1)
FIT = [
    *("--arch", "nano", "--weights", "none", "--size", "64", "--epochs", str(EPOCHS), "--batch-size", "2"),
    *("--step-epochs", "1", "--save-every-steps", "1", "--device", "cpu"),
]
IN_PROCESS = ["--workers", "0"]


def fit(data: Path, out: Path, *more: str):
    return CliRunner().invoke(app, ["fit", str(data), "--out", str(out), *FIT, *IN_PROCESS, *more])


def resume(data: Path, out: Path):
    """Nothing but --resume and what does not shape the result: the options are in last.pt."""
    return CliRunner().invoke(app, ["fit", str(data), "--out", str(out), "--resume", "--device", "cpu", *IN_PROCESS])


def rows(path: Path) -> list[dict[str, str]]:
    """All that a run is to repeat exactly; its speed it cannot."""
    with path.open(encoding="utf-8") as file:
        return [{k: v for k, v in row.items() if k != "images_per_s"} for row in csv.DictReader(file)]


def assert_same_weights(path: Path, expected: Path) -> None:
    found, wanted = load_checkpoint(path), load_checkpoint(expected)
    assert found.info == wanted.info
    different = [name for name, value in wanted.model.items() if not torch.equal(value, found.model[name])]
    assert not different


@pytest.fixture(scope="session")
def whole_run(tiny_yaml, tmp_path_factory) -> Path:
    """Folder of a run that nothing interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("whole") / "runs" / "nano"
    result = fit(tiny_yaml, out)
    assert result.exit_code == 0, result.output
    assert result.output.splitlines()[0] == "nano: 6 images to train on, 4 to validate"
    assert (
        result.output.splitlines()[-1] == f"done: {out}/best.pt. Next: realtime export onnx {out}/best.pt -o model.onnx"
    )
    return out


def test_fit_writes_checkpoints_and_logs(whole_run):
    assert sorted(p.name for p in whole_run.iterdir()) == [
        "best.pt", "confusion.png", "curves.png", "f1_confidence.png", "iou.png", "last.pt", "losses.csv",
        "metrics.csv", "metrics.json", "precision_recall.png", "reliability.png", "run.json", "tensorboard",
    ]  # fmt: skip
    losses, metrics = rows(whole_run / "losses.csv"), rows(whole_run / "metrics.csv")
    assert [(row["epoch"], row["step"], row["images_seen"]) for row in losses] == [
        ("1", "3", "6"), ("2", "3", "12"), ("3", "3", "18"),
    ]  # fmt: skip
    for row in losses:
        parts = [float(row[f"loss_{part}"]) for part in ("classifier", "box_reg", "objectness", "rpn_box_reg")]
        assert float(row["loss"]) == pytest.approx(sum(parts), abs=1e-4)
    assert [row["epoch"] for row in metrics] == ["1", "2", "3"]
    assert {"map50", "map50_95", "mean_f1", *(f"f1_{name}" for name in CLASS_NAMES)} <= set(metrics[0])


def test_curves_are_drawn_from_the_logs(whole_run, tmp_path):
    for name in ("losses.csv", "metrics.csv"):
        shutil.copy(whole_run / name, tmp_path / name)
    plot_curves(tmp_path)
    as_logged = cv2.imread(str(tmp_path / "curves.png"))
    assert as_logged.std() > 10  # not a blank sheet

    with (tmp_path / "losses.csv").open("a") as file:
        file.write("9,3,99,0.02,9,9,9,9,9,1\n")
    plot_curves(tmp_path)
    assert (cv2.imread(str(tmp_path / "curves.png")) != as_logged).any()


def test_images_that_share_a_label_file_are_named_once(tmp_path, monkeypatch):
    monkeypatch.setattr(Run, "fit", lambda *_, **__: None)
    data = make_data_set(tmp_path / "data", train=6)
    for name in ("000", "001"):
        shutil.copy(tmp_path / "data/images/val/003.png", tmp_path / f"data/images/train/{name}.jpg")

    output = fit(data, tmp_path / "run").output

    images = f"{tmp_path}/data/images/train"
    assert [line for line in output.splitlines() if "warning" in line] == [
        f"warning: {tmp_path}/data/labels/train/000.txt has the labels of {images}/000.jpg and of {images}/000.png, "
        "but can only belong to one of them (and 1 more such files; 'train check' lists them)"
    ]


def test_resuming_on_other_data_is_refused_and_leaves_the_logs(whole_run, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(whole_run, run)
    before = (run / "losses.csv").read_text()
    data = load_data_config(make_data_set(tmp_path / "data", train=12))
    with pytest.raises(TrainError, match=r"was trained on 6 images, but .* now has 12"):
        resumed_run(run / "last.pt", data, torch.device("cpu"), World())
    assert (run / "losses.csv").read_text() == before


def test_best_is_for_use_and_last_for_resuming(whole_run):
    best, last = load_checkpoint(whole_run / "best.pt"), load_checkpoint(whole_run / "last.pt")

    assert best.resume is None
    assert (last.resume["epoch"], last.resume["step"], last.resume["images_seen"]) == (EPOCHS, 0, 18)
    assert best.config == last.config == ModelConfig("nano", CLASS_NAMES, 64)
    assert best.info["data"] == "data.yaml"
    assert best.info["train_images"] == 6
    assert best.info["metrics"] == json.loads((whole_run / "metrics.json").read_text())
    assert FitOptions(**best.info["options"]) == OPTIONS


def test_loss_falls_on_a_set_that_can_be_learnt_by_heart(tmp_path):
    data = make_data_set(tmp_path / "data", train=4, val=1)
    images = sorted((tmp_path / "data" / "images" / "train").iterdir())[:3]  # those with objects
    (data.parent / "train.txt").write_text("".join(10 * [f"{image}\n" for image in images]))
    data.write_text(data.read_text().replace("train: images/train", "train: train.txt"))

    result = fit(data, tmp_path / "run", "--epochs", "4", "--batch-size", "3", "--warmup-steps", "5", "--lr", "0.05",
                 "--step-epochs", "9", "--save-every-steps", "99")  # fmt: skip

    assert result.exit_code == 0, result.output
    losses = [float(row["loss"]) for row in rows(tmp_path / "run" / "losses.csv")]
    assert len(losses) == 4
    assert losses[-1] < 0.6 * losses[0]


class KilledError(Exception):
    """Stands for a power cut."""


def kill_after_writes(monkeypatch, number: int) -> None:
    """Raise once ``number`` checkpoints have been written."""
    save, written = Checkpoint.save, []

    def save_and_die(self, path):
        save(self, path)
        written.append(path)
        if len(written) == number:
            raise KilledError

    monkeypatch.setattr(Checkpoint, "save", save_and_die)


def kill_in_validation(monkeypatch, epoch: int) -> None:
    evaluate, calls = train.loop.run.evaluate, []

    def evaluate_or_die(*args, **kwargs):
        calls.append(args)
        if len(calls) == epoch:
            raise KilledError
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(train.loop.run, "evaluate", evaluate_or_die)


def kill_after_row(monkeypatch, name: str) -> None:
    append_csv = train.loop.run_log.append_csv

    def append_and_die(path, row):
        append_csv(path, row)
        if path.name == name:
            raise KilledError

    monkeypatch.setattr(train.loop.run_log, "append_csv", append_and_die)


# An epoch writes: last.pt after each of three steps, last.pt after validation, and best.pt if it is the best.
MOMENTS = {
    "within the first epoch": lambda m: kill_after_writes(m, 2),
    "before validation": lambda m: kill_after_writes(m, STEPS),
    "after validation": lambda m: kill_after_row(m, "metrics.csv"),
    "between epochs": lambda m: kill_after_writes(m, STEPS + 2),
    "within the second epoch": lambda m: kill_after_writes(m, STEPS + 2 + 1),
}


OFTEN = {"between epochs", "within the second epoch"}
"""The moments that ``make test`` tries."""


@pytest.fixture(scope="module", params=[m if m in OFTEN else pytest.param(m, marks=pytest.mark.slow) for m in MOMENTS])
def resumed(request, tiny_yaml, tmp_path_factory) -> Path:
    """Folder of a run that was killed at some moment and resumed."""
    out = tmp_path_factory.mktemp("resumed")
    with pytest.MonkeyPatch.context() as monkeypatch:
        MOMENTS[request.param](monkeypatch)
        assert isinstance(fit(tiny_yaml, out).exception, KilledError)
    result = resume(tiny_yaml, out)
    assert result.exit_code == 0, result.output
    return out


def test_resumed_run_ends_with_the_weights_of_one_that_nothing_interrupted(resumed, whole_run):
    assert_same_weights(resumed / "last.pt", whole_run / "last.pt")


def test_resumed_run_has_the_same_best(resumed, whole_run):
    assert_same_weights(resumed / "best.pt", whole_run / "best.pt")
    assert (resumed / "metrics.json").read_text() == (whole_run / "metrics.json").read_text()


def test_resumed_run_logs_the_epochs_that_follow_alike(resumed, whole_run):
    assert rows(resumed / "losses.csv")[-1] == rows(whole_run / "losses.csv")[-1]
    assert rows(resumed / "metrics.csv")[-1] == rows(whole_run / "metrics.csv")[-1]


@pytest.mark.parametrize("name", ["losses.csv", "metrics.csv"])
def test_resumed_run_has_the_whole_log_without_repetition(resumed, whole_run, name):
    assert rows(resumed / name) == rows(whole_run / name)


def test_best_checkpoint_is_not_lost_when_killed_beside_its_write(tiny_yaml, tmp_path, monkeypatch):
    nothing = [Boxes(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.float32))]
    # All epochs score the same, so the first is the best.
    monkeypatch.setattr(train.loop.run, "evaluate", lambda *_, **__: evaluate_boxes(nothing, nothing, CLASS_NAMES))
    with monkeypatch.context() as killing:
        kill_after_writes(killing, STEPS + 1)
        assert isinstance(fit(tiny_yaml, tmp_path).exception, KilledError)

    assert resume(tiny_yaml, tmp_path).exit_code == 0

    assert (tmp_path / "metrics.json").exists()
    assert load_checkpoint(tmp_path / "best.pt").info["epoch"] == 1


def score_epochs(monkeypatch, *shifts_px):
    """Let each epoch find the one object of val, with a box that is so far from where it should be."""
    box = np.array([[8, 8, 40, 40]], np.float32)
    truth = [Boxes(box, np.array([1]), np.ones(1, np.float32))]
    shifts = iter(shifts_px)

    def evaluate(*_args, **_options):
        return evaluate_boxes(truth, [Boxes(box + next(shifts), np.array([1]), np.ones(1, np.float32))], CLASS_NAMES)

    monkeypatch.setattr(train.loop.run, "evaluate", evaluate)


def test_each_checkpoint_has_the_figures_of_its_own_weights(tiny_yaml, tmp_path, monkeypatch):
    score_epochs(monkeypatch, 2, 6)

    assert fit(tiny_yaml, tmp_path, "--epochs", "2").exit_code == 0

    logged = [float(row["map50_95"]) for row in rows(tmp_path / "metrics.csv")]
    assert logged[0] > logged[1]
    for name, expected in zip(("best.pt", "last.pt"), logged, strict=True):
        assert load_checkpoint(tmp_path / name).info["metrics"]["map50_95"] == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_run_ends_early_once_nothing_is_gained_for_so_long(tiny_yaml, tmp_path, monkeypatch):
    score_epochs(monkeypatch, 12, 4, 8, 6, 5, 0)  # the second epoch is the best of the first five

    result = fit(tiny_yaml, tmp_path, "--epochs", "6", "--patience", "3")

    assert result.exit_code == 0, result.output
    assert "no better mAP50-95 in 3 epochs since epoch 2" in result.output
    assert [row["epoch"] for row in rows(tmp_path / "metrics.csv")] == ["1", "2", "3", "4", "5"]
    assert load_checkpoint(tmp_path / "best.pt").info["epoch"] == 2


def test_run_from_weights_of_other_classes_says_what_is_reinitialized(tmp_path, whole_run):
    data = make_data_set(tmp_path / "data", train=4, val=1, names=("cat", "dog", "bird"))

    result = fit(data, tmp_path / "run", "--epochs", "1", "--weights", str(whole_run / "best.pt"), "--amp",
                 "--optimizer", "adamw", "--accumulate", "2", "--multi-scale", "0.5", "--trainable-layers", "2",
                 "--box-loss-weight", "2")  # fmt: skip

    assert result.exit_code == 0, result.output
    heads = "roi_heads.box_predictor.cls_score, roi_heads.box_predictor.bbox_pred"
    assert f"not in --weights {whole_run}/best.pt in this shape, reinitialized: {heads}" in result.output
    (row,) = rows(tmp_path / "run" / "losses.csv")
    parts = {part: float(row[f"loss_{part}"]) for part in ("classifier", "box_reg", "objectness", "rpn_box_reg")}
    weighted = parts["classifier"] + parts["objectness"] + 2 * (parts["box_reg"] + parts["rpn_box_reg"])
    assert float(row["loss"]) == pytest.approx(weighted, abs=1e-4)
    old, new = (load_checkpoint(run / "best.pt").model for run in (whole_run, tmp_path / "run"))
    first = "backbone.body.0.0.weight"
    assert torch.equal(old[first], new[first])  # one of the stages that are not trained


@pytest.mark.parametrize("arch", ["nano", "mobile"])
def test_run_from_a_shipped_model_is_deterministic_and_the_same_by_name_or_file(tiny_yaml, tmp_path, arch):
    path = Path(realtime.__file__).parent / "models" / "nano.onnx"
    options = ("--arch", arch, "--epochs", "1", "--optimizer", "adamw", "--lr", "1e-5", "--save-every-steps", "99")

    by_name = fit(tiny_yaml, tmp_path / "name", *options, "--weights", "nano")
    by_file = fit(tiny_yaml, tmp_path / "file", *options, "--weights", str(path))

    heads = "roi_heads.box_predictor.cls_score, roi_heads.box_predictor.bbox_pred"
    for result, weights in ((by_name, "nano"), (by_file, path)):
        assert result.exit_code == 0, result.output
        assert f"not in --weights {weights} in this shape, reinitialized: {heads}" in result.output
    named, filed = (load_checkpoint(tmp_path / name / "last.pt").model for name in ("name", "file"))
    assert not [name for name, value in named.items() if not torch.equal(value, filed[name])]
    assert resume(tiny_yaml, tmp_path / "name").exit_code == 0


def test_norms_of_a_shipped_model_get_the_statistics_of_augmented_images(tiny_yaml, tmp_path):
    options = replace(OPTIONS, weights="nano", multi_scale=0.5)

    run = Run(options, load_data_config(tiny_yaml), tmp_path, torch.device("cpu"), World())

    images = first_augmented_images(run.images.train, options, 32)
    assert images.shape == (6, 3, 64, 64)  # all of the first epoch, at the size of the run
    conv, norm, _ = run.state.model.backbone.body["0"]
    with torch.no_grad():
        inputs = conv(run.state.model.transform(list(images))[0].tensors)
    torch.testing.assert_close(norm.running_mean, inputs.mean(dim=(0, 2, 3)), atol=1e-4, rtol=1e-3)


def test_step_that_is_done_again_is_logged_once(tiny_yaml, tmp_path, whole_run, monkeypatch):
    kill_in_validation(monkeypatch, epoch=2)
    # last.pt is that of the first epoch's end, the log has the second epoch.
    assert isinstance(fit(tiny_yaml, tmp_path, "--save-every-steps", "99").exception, KilledError)
    monkeypatch.undo()

    assert resume(tiny_yaml, tmp_path).exit_code == 0

    assert rows(tmp_path / "losses.csv") == rows(whole_run / "losses.csv")
    assert_same_weights(tmp_path / "last.pt", whole_run / "last.pt")


@pytest.mark.slow
def test_run_in_parts_of_many_sizes_is_resumed_exactly(tiny_yaml, tmp_path, monkeypatch):
    options = ("--accumulate", "2", "--multi-scale", "0.5", "--optimizer", "adamw", "--epochs", "2")
    assert fit(tiny_yaml, tmp_path / "whole", *options).exit_code == 0
    with monkeypatch.context() as killing:
        kill_after_writes(killing, 2)
        assert isinstance(fit(tiny_yaml, tmp_path / "killed", *options).exception, KilledError)

    assert resume(tiny_yaml, tmp_path / "killed").exit_code == 0

    assert_same_weights(tmp_path / "killed" / "last.pt", tmp_path / "whole" / "last.pt")
    assert rows(tmp_path / "killed" / "losses.csv") == rows(tmp_path / "whole" / "losses.csv")


@pytest.mark.slow
def test_killed_process_is_resumed_exactly(tiny_yaml, tmp_path, whole_run):
    """The real thing: processes, a worker that reads ahead, and SIGKILL in the middle of training."""
    command = [
        sys.executable,
        "-u",
        "-m",
        "train",
        "fit",
        str(tiny_yaml),
        "--out",
        str(tmp_path),
        "--workers",
        "1",
        *FIT,
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        for line in process.stdout:
            if line.startswith(f"epoch 2/{EPOCHS} step {STEPS}/{STEPS}"):
                break
        os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    state = load_checkpoint(tmp_path / "last.pt").resume
    assert state["images_seen"] >= 6 + 2 * 2

    result = resume(tiny_yaml, tmp_path)

    assert result.exit_code == 0, result.output
    assert_same_weights(tmp_path / "last.pt", whole_run / "last.pt")


def test_existing_run_is_not_overwritten(train_cli, tiny_yaml, whole_run):
    before = (whole_run / "last.pt").read_bytes()

    code, out, err = train_cli("fit", tiny_yaml, "--out", whole_run, *FIT, *IN_PROCESS)

    assert (code, out) == (1, "")
    assert err == f"error: {whole_run}/last.pt exists: go on with --resume, or choose another --out\n"
    assert (whole_run / "last.pt").read_bytes() == before


@pytest.mark.parametrize("command", ["fit", "evaluate"])
def test_data_of_other_classes_is_refused(train_cli, whole_run, tmp_path, command):
    data = make_data_set(tmp_path, train=2, val=1, names=("cat", "dog"))
    arguments = {
        "fit": ("fit", data, "--out", whole_run, "--resume"),
        "evaluate": ("evaluate", whole_run / "best.pt", data),
    }

    code, _, err = train_cli(*arguments[command], "--device", "cpu")

    assert code == 1
    assert one_error(err).endswith(f"but {data} names cat, dog")
    assert ", ".join(CLASS_NAMES) in err


def test_resuming_with_another_option_is_refused(train_cli, tiny_yaml, whole_run):
    same = ("--lr", "0.02", "--epochs", str(EPOCHS), *IN_PROCESS)
    assert train_cli("fit", tiny_yaml, "--out", whole_run, "--resume", *same)[0] == 0

    code, _, err = train_cli("fit", tiny_yaml, "--out", whole_run, "--resume", "--lr", "0.5", *IN_PROCESS)

    assert code == 1
    assert one_error(err).startswith("--lr 0.5: the run began with 0.02, and a resumed run keeps that")


def test_resuming_on_changed_labels_is_refused(train_cli, whole_run, tmp_path):
    data = make_data_set(tmp_path, train=6, val=4)
    label = tmp_path / "labels" / "train" / "000.txt"
    label.write_text(label.read_text() + "0 0.5 0.5 0.2 0.2\n")

    code, _, err = train_cli("fit", data, "--out", whole_run, "--resume")

    assert code == 1
    assert "images or labels of split 'train' have changed since the run began" in one_error(err)


def test_run_json_is_that_of_the_last_start(train_cli, tiny_yaml, tmp_path):
    too_fast = ("--lr", "1e30", "--warmup-steps", "1", "--save-every-steps", "99")
    assert train_cli("fit", tiny_yaml, "--out", tmp_path, *FIT, *IN_PROCESS, *too_fast)[0] == 1

    assert train_cli("fit", tiny_yaml, "--out", tmp_path, *FIT, *IN_PROCESS, "--epochs", "1")[0] == 0

    assert json.loads((tmp_path / "run.json").read_text())["options"]["lr"] == 0.02


def test_clip_norm_of_0_is_no_limit():
    weights = []
    for clip_norm in (0.0, 1e9, 1e-9):
        options = replace(OPTIONS, clip_norm=clip_norm, weight_decay=0.0, warmup_steps=1)
        state = state_of(options)
        steps(state, options, make_batch(0))
        weights.append(state.model.roi_heads.box_predictor.cls_score.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert (weights[0] - weights[2]).abs().max() > 1e-5


def test_resuming_needs_a_last_checkpoint(train_cli, tiny_yaml, whole_run, tmp_path):
    code, _, err = train_cli("fit", tiny_yaml, "--out", tmp_path, "--resume")
    assert code == 1
    assert one_error(err) == f"cannot read {tmp_path}/last.pt: not found"

    (tmp_path / "last.pt").write_bytes((whole_run / "best.pt").read_bytes())
    code, _, err = train_cli("fit", tiny_yaml, "--out", tmp_path, "--resume")
    assert code == 1
    assert one_error(err) == "this checkpoint is for use, not for resuming. Resume from the run's last.pt"


@pytest.fixture
def run_from_coco(coco_weights, tiny_yaml, tmp_path) -> Run:  # noqa: ARG001
    options = replace(OPTIONS, arch="resnet50", weights="coco")
    return Run(options, load_data_config(tiny_yaml), tmp_path, torch.device("cpu"), World())


def test_run_that_began_with_coco_weights_can_be_resumed(run_from_coco, tmp_path, monkeypatch):
    stopped = run_from_coco.checkpoint(with_resume=True)
    monkeypatch.setattr(train.loop.run, "load_checkpoint", lambda _path: stopped)  # 330 MB that need no file

    run = resumed_run(tmp_path / "last.pt", run_from_coco.data, run_from_coco.device, World())

    assert run.options == run_from_coco.options
    trainable = [name for name, p in run.state.model.named_parameters() if p.requires_grad]
    assert "backbone.body.layer1.0.conv1.weight" not in trainable  # torchvision trains the last three blocks
    assert "backbone.body.layer2.0.conv1.weight" in trainable


def test_model_that_began_with_coco_weights_is_rebuilt_as_the_same_function(run_from_coco):
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))

    rebuilt = run_from_coco.checkpoint(with_resume=False).build()

    trained = run_from_coco.state.model.to(memory_format=torch.contiguous_format).eval()
    with torch.inference_mode():
        torch.testing.assert_close(rebuilt.backbone(image), trained.backbone(image))


def learning_rates(options: FitOptions, steps_per_epoch: int) -> list[float]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=options.lr)
    scheduler = make_scheduler(optimizer, options, steps_per_epoch)
    rates = []
    for _ in range(options.epochs * steps_per_epoch):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_step_schedule_warms_up_then_falls_by_gamma():
    rates = learning_rates(
        replace(OPTIONS, epochs=10, schedule="step", step_epochs=3, gamma=0.5, warmup_steps=8), steps_per_epoch=5
    )

    assert rates[:9] == pytest.approx([0.02 * (0.01 + 0.99 * n / 8) for n in range(9)])
    assert rates[8:] == pytest.approx([0.02 * 0.5 ** (n // 15) for n in range(42)])


def test_cosine_schedule_warms_up_then_falls_to_one_percent():
    rates = learning_rates(replace(OPTIONS, epochs=10, schedule="cosine", warmup_steps=8), steps_per_epoch=5)

    assert rates[:9] == pytest.approx([0.02 * (0.01 + 0.99 * n / 8) for n in range(9)])
    cosine = (torch.arange(42, dtype=torch.float64) * torch.pi / 42).cos()
    assert rates[8:] == pytest.approx((0.0002 + 0.0198 * (1 + cosine) / 2).tolist())


def test_warm_up_takes_a_fifth_of_a_short_run_at_most():
    rates = learning_rates(replace(OPTIONS, epochs=2, warmup_steps=500), steps_per_epoch=10)

    assert rates[4:6] == pytest.approx(2 * [0.02])


def test_average_follows_the_weights_at_the_given_decay():
    model = nn.BatchNorm1d(1)
    average = averaged_model(model, decay=0.5)
    expected = 1.0
    for step in range(20):
        with torch.no_grad():
            model.weight.fill_(step)
            model.running_mean.fill_(-step)
            model.num_batches_tracked.fill_(step)
        average.update_parameters(model)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = step if step == 0 else decay * expected + (1 - decay) * step

    assert average.module.weight.item() == pytest.approx(expected)
    assert average.module.running_mean.item() == pytest.approx(-expected)
    assert average.module.num_batches_tracked.item() == 19


def state_of(options: FitOptions) -> TrainState:
    torch.manual_seed(0)
    model = build_model(ModelConfig("nano", CLASS_NAMES, options.size))
    return build_train_state(model, options, steps_per_epoch=1, device=torch.device("cpu"), world=World())


def steps(state: TrainState, options: FitOptions, *parts: Batch) -> list[Step]:
    return list(train_steps(state, parts, options, World(), Interrupt()))


def make_batch(*seeds: int) -> Batch:
    rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
    images = torch.stack([torch.randint(256, (3, 64, 64), generator=rng, dtype=torch.uint8) for rng in rngs])
    boxes = [torch.tensor([[8.0, 8, 40, 50]]) for _ in seeds]
    return Batch(images, pad_targets(boxes, [torch.tensor([1]) for _ in seeds], seeds))


def weights_of(state: TrainState) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in state.model.named_parameters()}


def test_loss_that_is_not_finite_stops_before_the_step():
    state = state_of(OPTIONS)
    with torch.no_grad():
        state.model.roi_heads.box_predictor.cls_score.bias.fill_(torch.inf)
    before = weights_of(state)

    with pytest.raises(TrainError, match=r"training diverged \(.*loss_classifier nan.*Lower --lr"):
        steps(state, OPTIONS, make_batch(0))

    assert all(torch.equal(p, before[name]) for name, p in state.model.named_parameters())


@pytest.mark.parametrize("spoiled", ["weights", "outputs"])
def test_run_that_diverges_in_the_last_step_of_an_epoch_ends_in_one_line(tiny_yaml, tmp_path, train_cli, spoiled):
    """No loss shows it; validation meets it. What was saved before is kept."""
    value = torch.nan if spoiled == "weights" else 1e30

    def spoil(state, *others):
        for step in train_steps(state, *others):
            if state.scheduler.last_epoch == STEPS:
                for module in (state.model, state.average.module):
                    module.rpn.head.bbox_pred.bias.data.fill_(value)
            yield step

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(train.loop.run, "train_steps", spoil)
        code, _, err = train_cli("fit", tiny_yaml, "--out", tmp_path / "run", *FIT, *IN_PROCESS)

    assert code == 1
    found = "weights that are not finite" if spoiled == "weights" else "outputs that are not finite, or above 1e+06"
    assert err == f"error: training diverged ({found}). Lower --lr or lengthen --warmup-steps\n"
    assert load_checkpoint(tmp_path / "run" / "last.pt").resume["step"] == STEPS - 1


def diverged_checkpoint(path: Path, value: float) -> Path:
    config = ModelConfig("nano", CLASS_NAMES, 64)
    model = build_model(config)
    model.rpn.head.bbox_pred.bias.data.fill_(value)
    Checkpoint(config, model.state_dict(), {}).save(path)
    return path


def test_commands_refuse_a_checkpoint_that_diverged(tiny_yaml, tmp_path, train_cli):
    bad, fine = (diverged_checkpoint(tmp_path / f"{value}.pt", value) for value in (np.nan, 0.0))
    images = tiny_yaml.parent / "images" / "val"

    for command in (
        ("evaluate", bad, tiny_yaml),
        ("predict", bad, images, "--out", tmp_path / "out"),
        ("average", tiny_yaml, fine, bad, "--out", tmp_path / "mean.pt"),
        ("fit", tiny_yaml, "--out", tmp_path / "run", "--arch", "nano", "--weights", bad, "--batch-size", "2"),
    ):
        code, _, err = train_cli(*command, "--device", "cpu")
        assert (code, err) == (
            1, f"error: {bad}: its weights are not finite: its training diverged. Use an earlier checkpoint\n"
        )  # fmt: skip


def test_finite_weights_with_outputs_out_of_range_are_refused(tiny_yaml, tmp_path, train_cli):
    bad = diverged_checkpoint(tmp_path / "bad.pt", 1e30)

    code, _, err = train_cli("average", tiny_yaml, bad, bad, "--out", tmp_path / "mean.pt", "--device", "cpu")

    assert code == 1
    assert err.startswith("error: the model's outputs are not finite, or above 1e+06: its training diverged.")
    assert not (tmp_path / "mean.pt").exists()


def test_image_without_any_proposal_has_no_detections():
    model = build_model(ModelConfig("nano", CLASS_NAMES, 64)).eval()
    model.rpn.filter_proposals = lambda *_: ([torch.empty(0, 4)], [torch.empty(0)])

    with torch.inference_mode():
        [found] = model([torch.zeros(3, 64, 64)])

    assert [found[name].shape for name in ("boxes", "labels", "scores")] == [(0, 4), (0,), (0,)]


def test_gradient_that_is_not_finite_stops_before_the_step():
    state = state_of(OPTIONS)
    state.model.roi_heads.box_predictor.cls_score.weight.register_hook(lambda grad: grad * torch.inf)
    before = weights_of(state)

    with pytest.raises(TrainError, match=r"training diverged \(norm of the gradient (nan|inf)\)"):
        steps(state, OPTIONS, make_batch(0))

    assert all(torch.equal(p, before[name]) for name, p in state.model.named_parameters())


def test_evaluate_prints_a_table_and_writes_json(train_cli, tiny_yaml, whole_run, tmp_path):
    path = tmp_path / "scores.json"

    plots = tmp_path / "a" / "plots"
    code, out, err = train_cli(
        "evaluate", whole_run / "best.pt", tiny_yaml, "--json", path, "--plots", plots, "--device", "cpu"
    )

    assert (code, err) == (0, "")
    # best.pt is the epoch of the plots in its folder.
    for name in ("confusion.png", "f1_confidence.png", "iou.png", "precision_recall.png"):
        assert (plots / name).read_bytes() == (whole_run / name).read_bytes()
    assert out.splitlines()[0].split()[:2] == ["class", "labelled"]
    assert [line.split("  ")[0] for line in out.splitlines()[1:4]] == [*CLASS_NAMES, "mean"]
    assert out.splitlines()[4].startswith("4 images, score threshold ")
    # best.pt is the epoch that metrics.json reports.
    assert json.loads(path.read_text()) == json.loads((whole_run / "metrics.json").read_text())


def test_average_is_the_mean_of_the_weights_scored_on_val(train_cli, tiny_yaml, whole_run, tmp_path):
    first = load_checkpoint(whole_run / "best.pt")
    moved = {name: value + 1e-3 if value.is_floating_point() else value for name, value in first.model.items()}
    replace(first, model=moved).save(tmp_path / "moved.pt")

    code, out, err = train_cli(
        "average", tiny_yaml, whole_run / "best.pt", tmp_path / "moved.pt", "--out", tmp_path / "mean.pt"
    )

    assert code == 0, err
    assert "images, score threshold" in out
    mean = load_checkpoint(tmp_path / "mean.pt")
    assert mean.config == first.config
    assert mean.info["averaged"] == 2
    assert mean.info["metrics"]["images"] == 4
    for name, value in mean.model.items():
        wanted = first.model[name] + 5e-4 if value.is_floating_point() else first.model[name]
        torch.testing.assert_close(value, wanted)


def test_average_refuses_one_checkpoint_and_models_that_differ(train_cli, tiny_yaml, whole_run, tmp_path):
    best, out = whole_run / "best.pt", tmp_path / "mean.pt"
    first = load_checkpoint(best)
    replace(first, config=replace(first.config, input_size=96)).save(tmp_path / "larger.pt")

    code, _, err = train_cli("average", tiny_yaml, best, "--out", out)
    assert (code, err) == (1, "error: one checkpoint cannot be averaged: name two or more\n")

    code, _, err = train_cli("average", tiny_yaml, best, tmp_path / "larger.pt", "--out", out)
    assert code == 1
    assert err.startswith("error: checkpoints of different models: ")
    assert not out.exists()


def test_evaluate_takes_split_and_threshold(train_cli, tiny_yaml, whole_run):
    code, out, _ = train_cli(
        "evaluate", whole_run / "best.pt", tiny_yaml, "--split", "train", "--threshold", "0.25", "--device", "cpu"
    )

    assert code == 0
    assert out.splitlines()[4].startswith("6 images, score threshold 0.25")


def one_error(err: str) -> str:
    """The message, if stderr is one line of the agreed form."""
    assert err.startswith("error: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err.removeprefix("error: ").rstrip("\n")


def break_nothing(_data: Path) -> None:
    pass


def break_yaml(data: Path) -> None:
    data.write_text("train: images/train\nval: images/val\n")


def break_label(data: Path) -> None:
    (data.parent / "labels" / "train" / "001.txt").write_text("0 0.5 0.5 0.1\n")


def break_class(data: Path) -> None:
    (data.parent / "labels" / "val" / "000.txt").write_text("0 0.5 0.5 0.1 0.1\n7 0.5 0.5 0.1 0.1\n")


def break_val(data: Path) -> None:
    (data.parent / "labels" / "val" / "000.txt").write_text("")


def break_picture(data: Path) -> None:
    (data.parent / "images" / "train" / "001.png").write_bytes(b"no picture")


@pytest.mark.parametrize(
    ("break_it", "options", "message"),
    [
        (break_yaml, (), "data.yaml: key 'names' is missing. A data set needs 'names', 'train' and 'val'"),
        (
            break_label, (),
            "labels/train/001.txt:1: expected 'class cx cy w h' (5 numbers) or a polygon (class + 3 or more points), "
            "found 4 numbers",
        ),
        (break_class, (), "labels/val/000.txt:2: class id 7 is not in 'names' (0 to 1)"),
        (break_val, (), "split 'val' has no labelled box, so no epoch can be chosen as the best"),
        (break_picture, (), "images/train/001.png: not a readable image"),
        (break_nothing, ("--batch-size", "5"), "Use --batch-size 4 or less"),
        (break_nothing, ("--size", "100"), "input size 100: use a multiple of 32, 64 or more"),
        (break_nothing, ("--size", "0"), "input size 0: use a multiple of 32, 64 or more"),
        (break_nothing, ("--weights", "missing.pt"), "cannot read missing.pt: not found"),
        (break_nothing, ("--device", "abacus"), "--device abacus: "),
        (break_nothing, ("--lr", "1e30", "--warmup-steps", "1", "--epochs", "9"), "Lower --lr or lengthen --warmup"),
    ],
    ids=lambda value: value.__name__ if callable(value) else None,
)  # fmt: skip
def test_fit_names_what_is_wrong_in_one_line(train_cli, tmp_path, break_it, options, message):
    data = make_data_set(tmp_path / "data", train=4, val=1)
    break_it(data)

    code, _, err = train_cli("fit", data, "--out", tmp_path / "run", *FIT, *IN_PROCESS, *options)

    assert code == 1
    assert message in one_error(err)


def test_out_that_is_a_file_is_refused_in_one_line(train_cli, tiny_yaml, tmp_path):
    (tmp_path / "run").touch()

    code, _, err = train_cli("fit", tiny_yaml, "--out", tmp_path / "run", *FIT, *IN_PROCESS)

    assert code == 1
    assert str(tmp_path / "run") in one_error(err)


def test_evaluate_names_a_checkpoint_of_another_format(train_cli, tiny_yaml, tmp_path):
    path = tmp_path / "model.pt"
    torch.save({"format": FORMAT, "version": VERSION + 1}, path)

    code, out, err = train_cli("evaluate", path, tiny_yaml)

    assert (code, out) == (1, "")
    assert one_error(err) == f"{path}: checkpoint version {VERSION + 1}, this program reads version {VERSION}"


def test_evaluate_names_a_json_file_that_cannot_be_written(train_cli, tiny_yaml, whole_run, tmp_path):
    path = tmp_path / "nowhere" / "scores.json"

    code, _, err = train_cli("evaluate", whole_run / "best.pt", tiny_yaml, "--json", path, "--device", "cpu")

    assert code == 1
    assert str(path) in one_error(err)


def test_debug_shows_the_traceback(tiny_yaml, tmp_path, monkeypatch):
    from train.cli import run_cli

    monkeypatch.setattr(sys, "argv", ["train", "--debug", "evaluate", str(tmp_path / "no.pt"), str(tiny_yaml)])

    with pytest.raises(TrainError, match="not found"):
        run_cli()
