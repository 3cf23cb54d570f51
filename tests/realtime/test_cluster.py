"""Batches on a real Ray: of this run's own, and clusters of two machines that are simulated on this one."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from batches import Copier, batch_of, made_tasks
from fakes import WAIT_S, make_video, read_video, stub_model
from made_videos import Kind, make
from typer.testing import CliRunner

from realtime.batch import segmented
from realtime.batch.cluster import SETTINGS, Cluster, RayExecutor
from realtime.cli import app
from realtime.errors import SinkError

os.environ.update(SETTINGS)  # some of it is read when Ray is imported
ray = pytest.importorskip("ray", reason="the extra cluster is not installed")

LIMITS = {"object_store_memory": 100 << 20, "include_dashboard": False}


@dataclass(frozen=True)
class RemoteCopier(Copier):
    """A copier that notes each process that loads the model, and may take its time."""

    model: str = "m"
    pause_s: float = 0.0

    def model_files(self):
        return None

    def process(self, task):
        time.sleep(self.pause_s)
        return super().process(task)

    def open(self, cores):
        with self.opened.open("a") as file:
            file.write(f"{os.getpid()} {cores}\n")
        return self


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """Workers of Ray import the modules of the tests."""
    folders = [str(Path(__file__).parents[1]), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))


def spec_of(folder, **options):
    return RemoteCopier(folder / "log", folder / "opened", **options)


def test_tasks_are_done_by_workers_of_ray_that_load_the_model_once(tmp_path):
    tasks = made_tasks(tmp_path, {f"{i:02}": "x" for i in range(12)} | {"bug": "bug", "crash": "crash"})
    spec = spec_of(tmp_path)
    summary = batch_of(tmp_path, tasks, RayExecutor(spec, Cluster(address="ray"))).run()
    assert not ray.is_initialized()
    assert summary.done == 12
    errors = {task.name: error for task, error in summary.failed}
    assert "KeyError: 'bug'" in errors["bug"]
    assert "its worker ended (The worker died unexpectedly" in errors["crash"]
    assert "in each of 3 attempts" in errors["crash"]
    assert spec.done.count("crash") == 3
    assert sorted(set(spec.done)) == sorted(task.name for task in tasks)
    opened = (tmp_path / "opened").read_text().splitlines()
    assert len(set(opened)) == len(opened)  # once a process


@pytest.mark.slow
def test_a_file_that_hangs_is_given_up(tmp_path):
    tasks = made_tasks(tmp_path, {"a": "hang", "b": "fine"})
    summary = batch_of(tmp_path, tasks, RayExecutor(spec_of(tmp_path), Cluster(address="ray", limit_s=1.0))).run()
    [(task, error)] = summary.failed
    assert task.name == "a"
    assert "its worker ended (after 0:00:01 at the latest) in each of 3 attempts" in error


@pytest.mark.slow
def test_workers_that_cannot_start_end_the_batch(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "")
    tasks = made_tasks(tmp_path, {"a": "1"})
    with pytest.raises(SinkError, match=r"a worker cannot start: .*; install the same version"):
        batch_of(tmp_path, tasks, RayExecutor(spec_of(tmp_path), Cluster(address="ray"))).run()


def test_a_place_that_is_none_is_refused(tmp_path):
    result = CliRunner().invoke(app, ["video", "a.mp4", "b.mp4", "--out", str(tmp_path), "--on", "slurm"])
    assert isinstance(result.exception, SinkError)
    assert "choose ray, auto or ray://HOST:PORT" in str(result.exception)


def test_options_of_ray_need_ray(tmp_path):
    result = CliRunner().invoke(app, ["image", "a.png", "--out", str(tmp_path), "--gpus-per-worker", "1"])
    assert "add --on" in str(result.exception)


@pytest.mark.slow
def test_no_cluster_is_one_line_of_error(tmp_path, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    tasks = made_tasks(tmp_path, {"a": "1"})
    with pytest.raises(SinkError, match="no Ray cluster answers"):
        batch_of(tmp_path, tasks, RayExecutor(spec_of(tmp_path), Cluster(address="auto"))).run()


@pytest.mark.slow
def test_videos_on_ray_give_the_bytes_of_one_process(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clips" / "sub").mkdir(parents=True)
    for name in ("a.mp4", "sub/b.mp4"):
        make_video(tmp_path / "clips" / name, frames=10)
    (tmp_path / "clips" / "bad.avi").write_text("no video")
    stub_model(tmp_path / "m.onnx")
    model = ["--model", "m.onnx", "--provider", "cpu"]
    run = CliRunner()
    assert run.invoke(app, ["video", "clips", "--out", "one", "--jsonl", "one-found", *model]).exit_code == 1
    done = run.invoke(app, ["video", "clips", "--out", "two", "--jsonl", "two-found", "--on", "ray", *model])
    assert done.exit_code == 1, done.output
    assert done.stderr.splitlines()[-1] == "3 videos, 1 with errors: clips/bad.avi"
    for name in ("{}/a.mp4", "{}/sub/b.mp4", "{}-found/a.jsonl", "{}-found/sub/b.jsonl"):
        assert (tmp_path / name.format("two")).read_bytes() == (tmp_path / name.format("one")).read_bytes()


@pytest.mark.slow
def test_a_long_video_is_shared_on_ray(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(segmented, "PART_S", 2.0)
    monkeypatch.setattr(segmented, "MIN_BYTES", 1)
    make(tmp_path / "in.mp4", Kind(frames=200, languages=("eng",), options={"g": "25", "sc_threshold": "0"}))
    stub_model(tmp_path / "m.onnx")
    for name, place in (("one", []), ("two", ["--on", "ray"])):
        outputs = ["--out", f"{name}.mp4", "--jsonl", f"{name}.jsonl"]
        arguments = ["video", "in.mp4", *outputs, *place, "--model", "m.onnx", "--provider", "cpu"]
        assert CliRunner().invoke(app, arguments).exit_code == 0
    assert (tmp_path / "two.jsonl").read_bytes() == (tmp_path / "one.jsonl").read_bytes()
    one, two = read_video(tmp_path / "one.mp4"), read_video(tmp_path / "two.mp4")
    assert [pts_s for pts_s, _ in two] == [pts_s for pts_s, _ in one]


@pytest.fixture
def cluster():
    """Two simulated machines with one CPU each, and a head without."""
    from ray.cluster_utils import Cluster as Machines

    machines = Machines(
        initialize_head=True, head_node_args={"num_cpus": 0, **LIMITS}, connect=False, shutdown_at_exit=True
    )
    nodes = [machines.add_node(num_cpus=1, object_store_memory=80 << 20) for _ in range(2)]
    yield machines, nodes
    ray.shutdown()
    machines.shutdown()


@pytest.mark.slow
def test_a_machine_and_a_worker_that_die_lose_nothing(tmp_path, cluster):
    machines, nodes = cluster
    tasks = made_tasks(tmp_path, {f"{i:02}": f"text {i}" for i in range(30)})
    spec = spec_of(tmp_path, pause_s=0.2)
    batch = batch_of(tmp_path, tasks, RayExecutor(spec, Cluster(address=machines.address)))
    killed = []

    def kill() -> None:
        wait_until(lambda: len(spec.done) >= 6)
        machines.remove_node(nodes[0], allow_graceful=False)
        killed.append("machine")
        before = len(spec.done)
        wait_until(lambda: len(spec.done) >= before + 4)
        os.kill(living_worker(tmp_path), signal.SIGKILL)
        killed.append("worker")

    thread = threading.Thread(target=kill, name="test-kill")
    thread.start()
    summary = batch.run()
    thread.join(WAIT_S)
    assert killed == ["machine", "worker"]
    assert (summary.done, summary.failed) == (30, [])
    for number, task in enumerate(tasks):
        assert task.outputs["out"].read_text() == f"text {number}"
    records = list((tmp_path / "out" / ".realtime" / "records").iterdir())
    assert len(records) == 30


def living_worker(folder: Path) -> int:
    for line in reversed((folder / "opened").read_text().splitlines()):
        pid = int(line.split()[0])
        if Path(f"/proc/{pid}").exists():
            return pid
    raise AssertionError("no worker")


def wait_until(condition) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_after_the_driver_has_ended_only_unfinished_videos_are_done_again(tmp_path, number):
    (tmp_path / "clips").mkdir()
    for i in range(10):
        make_video(tmp_path / "clips" / f"{i}.mp4", frames=400)
    stub_model(tmp_path / "m.onnx")
    arguments = [
        "video",
        "clips",
        "--out",
        "drawn",
        "--on",
        "ray",
        "--resume",
        "--model",
        "m.onnx",
        "--provider",
        "cpu",
    ]
    command = [sys.executable, "-c", "from realtime.cli import run_cli; run_cli()", *arguments]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    records = tmp_path / "drawn" / ".realtime" / "records"
    wait_until(lambda: process.poll() is not None or len(list(records.glob("*.json"))) >= 3)
    process.send_signal(number)
    _, errors = process.communicate(timeout=WAIT_S)
    assert process.returncode == (130 if number == signal.SIGINT else -9), errors
    finished = {path.name.removesuffix(".json") for path in records.glob("*.json")}
    assert 3 <= len(finished) < 10
    before = {name: (tmp_path / "drawn" / name).stat().st_mtime_ns for name in finished}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == f"10 videos, {len(finished)} done before"
    assert {name: (tmp_path / "drawn" / name).stat().st_mtime_ns for name in finished} == before
    assert sorted(path.name for path in (tmp_path / "drawn").glob("[!.]*")) == [f"{i}.mp4" for i in range(10)]
    assert not list((tmp_path / "drawn").glob("*.partial*"))
    summary = json.loads((records.parent / "summary.json").read_text())
    assert (summary["skipped"], summary["done"]) == (len(finished), 10 - len(finished))
