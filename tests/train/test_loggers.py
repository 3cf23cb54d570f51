"""``fit --log``: Weights & Biases and MLflow where nobody has set them up, and what becomes of their failures.

Both take seconds to import, so the tests that need them do it.
"""

import importlib.util
import json
import socket
from pathlib import Path

import pytest
from tiny_data import make_data_set, noise_image, write_image
from typer.testing import CliRunner

from train.cli import app
from train.loop.interrupt import InterruptedRunError
from train.loop.loggers import opening
from train.loop.loggers.base import Outcome, RunIdentity, RunLogger
from train.loop.loggers.opening import GuardedLogger, LogOptions, open_loggers
from train.loop.progress import Progress
from train.loop.recorder import RunRecorder
from train.loop.run_log import RunLog

FIT = [
    *("--arch", "nano", "--weights", "none", "--size", "64", "--epochs", "1", "--batch-size", "4"),
    *("--device", "cpu", "--workers", "0"),
]
RUN_JSON = {"options": {"lr": 0.02, "arch": "nano"}, "images": {"train": 8}, "class_names": ["face"]}
SCORES = {
    "threshold": 0.5, "map50": 0.25, "map50_95": None, "mean_f1": 0.5, "false_positives_per_negative": None,
    "classes": [{"name": "face", "f1": 0.75}],
}  # fmt: skip


@pytest.fixture
def home(tmp_path, monkeypatch) -> Path:
    """A user who has set up neither tool; returns the home folder, which is the current one too."""
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("CONFIG", "CACHE", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(home / name.lower()))
    monkeypatch.chdir(home)
    return home


@pytest.fixture
def silent_server(monkeypatch):
    """A server in the place of wandb's that nobody may call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        yield
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.fixture
def out(tmp_path) -> Path:
    """Folder of a run."""
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(RUN_JSON))
    write_image(folder / "iou.png", noise_image(16, 16, seed=0))
    (folder / "best.pt").write_bytes(b"weights")
    return folder


def log_losses(log: RunLog, *images_seen: int) -> None:
    for seen in images_seen:
        log.losses({"epoch": 1, "step": 1, "images_seen": seen}, {"loss": 10.0 / seen}, 0.25, 20.0)


def log_in_two_parts(out: Path, name: str) -> list[str]:
    """A run that was stopped after 20 images and resumed from a checkpoint at 10; what was printed."""
    printed: list[str] = []
    loggers = open_loggers(LogOptions((name,)), out, is_resumed=False, on_message=printed.append)
    log = RunLog(out, 0, 0, loggers)
    log_losses(log, 10, 20)
    log.close(Outcome.STOPPED, out / "best.pt")

    loggers = open_loggers(LogOptions(), out, is_resumed=True, on_message=printed.append)
    log = RunLog(out, 10, 0, loggers)
    log_losses(log, 20, 30)
    log.metrics(1, 30, SCORES)
    log.plots([out / "iou.png"], 30)
    log.close(Outcome.DONE, out / "best.pt")
    return printed


@pytest.mark.usefixtures("home", "silent_server")
def test_wandb_keeps_runs_on_the_machine_and_a_resumed_one_keeps_its_id(out):
    from wandb_files import run_of

    printed = log_in_two_parts(out, "wandb")

    text = f"wandb: kept offline in {out}/wandb; upload it with: wandb sync {out}/wandb/offline-run-*"
    assert printed == [text, text]
    parts = [run_of(path) for path in sorted(out.glob("wandb/offline-run-*/*.wandb"))]
    parts.sort(key=lambda part: part["exit_code"], reverse=True)
    stopped, done = parts
    assert {part["id"] for part in parts} == {json.loads((out / "loggers.json").read_text())["wandb"]["id"]}
    assert {(part["name"], part["project"]) for part in parts} == {("mine", "facial-feature-rcnn")}
    config = {name: value for name, value in stopped["config"].items() if not name.startswith("_")}
    assert config == {"lr": 0.02, "arch": "nano", "images_train": 8, "class_names": ["face"]}
    rows = [(row["images_seen"], row["train/loss"]) for part in parts for row in part["history"] if "train/loss" in row]
    assert rows == [(10, 1.0), (20, 0.5), (30, pytest.approx(1 / 3))]  # 20 is not logged twice
    [val] = [row for row in done["history"] if "val/map50" in row]
    assert {name: value for name, value in val.items() if name.startswith("val/")} == {
        "val/threshold": 0.5, "val/map50": 0.25, "val/mean_f1": 0.5, "val/f1_face": 0.75,
    }  # fmt: skip
    assert len(list(out.glob("wandb/offline-run-*/files/media/images/plots/iou*.png"))) == 1
    assert (stopped["exit_code"], stopped["artifacts"]) == (1, [])
    assert (done["exit_code"], done["artifacts"]) == (0, [("model", ["best.pt"])])


@pytest.mark.parametrize("store", ["files", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_mlflow_continues_a_resumed_run(out, home, monkeypatch, store):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    uri = f"sqlite:///{home}/mlflow.db"
    if store == "files":
        uri = (home / "mlruns").as_uri()
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)

    printed = log_in_two_parts(out, "mlflow")

    assert printed == 2 * [f"mlflow: run mine of experiment facial-feature-rcnn in {uri}"]
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("facial-feature-rcnn")
    [run] = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("mine", "FINISHED")
    assert run.data.params == {"lr": "0.02", "arch": "nano", "images_train": "8", "class_names": "['face']"}
    losses = client.get_metric_history(run.info.run_id, "train/loss")
    assert [(entry.step, entry.value) for entry in losses] == [(10, 1.0), (20, 0.5), (30, pytest.approx(1 / 3))]
    assert run.data.metrics["val/f1_face"] == 0.75
    assert "val/map50_95" not in run.data.metrics
    files = [file.path for folder in ("", "plots") for file in client.list_artifacts(run.info.run_id, folder)]
    assert sorted(files) == ["best.pt", "plots", "plots/iou.png", "run.json"]


def test_address_of_a_server_is_not_written_and_not_shown_with_its_password(out, home, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@127.0.0.1:9")
    for name, value in (("MAX_RETRIES", "0"), ("TIMEOUT", "5")):
        monkeypatch.setenv(f"MLFLOW_HTTP_REQUEST_{name}", value)
    printed: list[str] = []

    loggers = open_loggers(LogOptions(("mlflow",)), out, is_resumed=False, on_message=printed.append)

    assert loggers == []
    [line] = printed
    assert line.startswith("warning: --log mlflow failed and is left out from here on: ")
    assert "secret" not in line
    assert not (out / "loggers.json").exists()
    assert list(home.iterdir()) == []


def test_metrics_of_classes_with_any_name_are_taken_by_mlflow():
    from train.loop.loggers.mlflow_logger import metric_name

    assert metric_name("val", "f1_left/right eye: 50 % (日本)") == "val/f1_left_right eye_ 50 _ _日本_"


def test_config_of_a_run_whose_json_is_gone_is_empty(tmp_path):
    assert RunIdentity(tmp_path, "mine").config() == {}


class Recording(RunLogger):
    """Notes what it is given; raises from the n-th call on."""

    def __init__(self, fails_at: int = 99) -> None:
        self.calls: list[object] = []
        self.fails_at = fails_at

    def scalars(self, group, values, images_seen):
        self._call((group, images_seen))

    def model(self, best):
        self._call(best.name)

    def close(self, outcome):
        self._call(outcome)

    def _call(self, what):
        self.calls.append(what)
        if len(self.calls) >= self.fails_at:
            raise ConnectionError("cannot reach https://me:key@there\nat all")


def test_logger_that_fails_is_reported_once_and_left_out():
    printed, failing = [], Recording(fails_at=2)
    guarded = GuardedLogger("wandb", failing, {}, printed.append)

    for seen in (1, 2, 3):
        guarded.scalars("train", {"loss": 1.0}, seen)
    guarded.model(Path("best.pt"))
    guarded.close(Outcome.DONE)

    assert failing.calls == [("train", 1), ("train", 2)]
    assert printed == [
        "warning: --log wandb failed and is left out from here on: cannot reach https://***@there at all"
    ]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, ["best.pt", Outcome.DONE]),
        (InterruptedRunError(2, "stopped"), [Outcome.STOPPED]),
        (KeyboardInterrupt(), [Outcome.STOPPED]),
        (OSError("disk full"), [Outcome.FAILED]),
    ],
)
def test_loggers_learn_how_a_run_ended(tmp_path, error, expected):
    logger = Recording()
    recorder = RunRecorder(tmp_path, Progress(), [logger], is_main=True)

    recorder.__exit__(type(error) if error else None, error, None)

    assert logger.calls == expected


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_missing_package_is_named_before_the_run_begins(tmp_path, train_cli, monkeypatch, name):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda n, *a: None if n == name else find_spec(n, *a))
    data = make_data_set(tmp_path / "data")

    code, printed, errors = train_cli("fit", data, "--out", tmp_path / "run", *FIT, "--log", name)

    assert (code, printed) == (1, "")
    assert errors == (
        f"error: --log {name}: {name} is not installed. Install it with: pip install 'facial-feature-rcnn[{name}]'\n"
    )
    assert not (tmp_path / "run").exists()


class BrokenError(Exception):
    """Of a tool."""


@pytest.mark.usefixtures("home")
def test_run_ends_well_whatever_its_loggers_do(tiny_yaml, tmp_path, monkeypatch):
    def open_broken(name, *_):
        if name == "mlflow":
            raise BrokenError
        return logger

    logger = Recording(fails_at=3)
    logger.identity = {"id": "1"}
    monkeypatch.setattr(opening, "_open", open_broken)

    result = CliRunner().invoke(
        app, ["fit", str(tiny_yaml), "--out", str(tmp_path), *FIT, "--log", "mlflow", "--log", "wandb"]
    )

    assert result.exit_code == 0, result.output
    assert logger.calls == [("train", 4), ("val", 4), "best.pt"]
    left_out = "failed and is left out from here on:"
    warnings = [line for line in result.output.splitlines() if line.startswith("warning")]
    assert warnings == [
        f"warning: --log mlflow {left_out} BrokenError",
        f"warning: --log wandb {left_out} cannot reach https://***@there at all",
    ]
    assert json.loads((tmp_path / "loggers.json").read_text()) == {"wandb": {"id": "1"}}


def test_tools_report_nothing_of_their_use():
    import mlflow
    import wandb

    from train.loop.loggers import mlflow_logger, wandb_logger

    assert mlflow_logger
    assert wandb_logger
    assert wandb.setup().settings.silent
    wandb.teardown()
    assert mlflow.telemetry.utils.is_telemetry_disabled()
