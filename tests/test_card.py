"""The script for a card, on stand-ins: steps that succeed, fail or hang, and what it reads out of their reports."""

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_data import make_data_set

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import bounded_steps
import card
import gpu
import shipped
from bounded_steps import Outcome, Step, run_step, run_steps, table

SCRIPT = Path(card.__file__)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_step_gives_its_figures_and_leaves_a_log(tmp_path):
    step = Step("good", python("import sys; print('{\"a\": 1}'); print('note', file=sys.stderr)"), 60, json.loads)

    outcome = run_step(step, tmp_path / "good.log", 60)

    assert (outcome.result, outcome.figures, outcome.reason) == ("ok", {"a": 1}, None)
    assert (tmp_path / "good.log").read_text().splitlines() == ['{"a": 1}', "note"]
    assert list(tmp_path.iterdir()) == [tmp_path / "good.log"]


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (python("import sys; sys.exit('no card here')"), "exit code 1: no card here"),
        (python("print('no JSON')"), "its figures cannot be read: JSONDecodeError"),
        (["/no/such/program"], "No such file or directory"),
    ],
)
def test_a_step_that_fails_says_why(tmp_path, command, reason):
    outcome = run_step(Step("bad", command, 60, json.loads), tmp_path / "bad.log", 60)

    assert outcome.result == "failed"
    assert reason in outcome.reason


def test_a_step_that_hangs_is_ended_with_what_it_started(tmp_path):
    pid = tmp_path / "pid"
    child = f"import os, time, pathlib; pathlib.Path({str(pid)!r}).write_text(str(os.getpid())); time.sleep(600)"
    code = f"import subprocess, sys; print('measured', flush=True); subprocess.run([sys.executable, '-c', {child!r}])"
    started = time.monotonic()

    outcome = run_step(Step("hangs", python(code), 5, lambda text: {"said": text.strip()}), tmp_path / "hangs.log", 5)

    assert time.monotonic() - started < 60
    assert (outcome.result, outcome.figures) == ("out of time", {"said": "measured"})
    assert outcome.reason == "ended after 5 s"
    if pid.exists() and hasattr(os, "pidfd_open"):
        assert is_gone(int(pid.read_text()))


def is_gone(pid: int) -> bool:
    """Whether a process ends within a minute."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    readable, _, _ = select.select([handle], [], [], 60)  # it becomes readable when the process ends
    os.close(handle)
    return bool(readable)


def test_steps_go_on_after_a_failure_and_none_begins_without_time(tmp_path, monkeypatch):
    steps = [Step(name, python(code), 60) for name, code in (("a", "raise SystemExit(3)"), ("b", ""), ("c", ""))]
    limits = []

    def ends_at_once(step, _, limit_s):
        limits.append(limit_s)
        return Outcome(step.name, "ok", 1.0)

    monkeypatch.setattr(bounded_steps, "run_step", ends_at_once)
    assert [o.result for o in run_steps(steps, tmp_path, 30, lambda _: None)] == ["ok"] * 3
    assert all(20 < limit <= 30 for limit in limits)  # what is left, where a step may take longer
    assert [o.result for o in run_steps(steps, tmp_path, 1, lambda _: None)] == ["skipped"] * 3
    monkeypatch.undo()

    said = []
    assert [o.result for o in run_steps(steps, tmp_path, 600, said.append)] == ["failed", "ok", "ok"]
    assert said == ["a …", "b …", "c …"]


def test_site_directories_of_the_caller_come_after_the_project(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere/else")
    step = Step("paths", python("import os; print(os.environ['PYTHONPATH'])"), 60, lambda text: {"found": text.strip()})

    outcome = run_step(step, tmp_path / "paths.log", 60)

    assert outcome.figures["found"].split(os.pathsep) == [str(bounded_steps.ROOT), "/somewhere/else"]


def test_table_has_a_line_for_each_figure_and_reason():
    outcomes = [Outcome("gpu", "ok", 61.25, {"p50 ms": 4.4}), Outcome("tests", "failed", 3.0, {}, "exit code 4: none")]

    assert table(outcomes).splitlines() == [
        "step   result        seconds",
        "gpu    ok               61.2",
        "       p50 ms: 4.4",
        "tests  failed            3.0",
        "       exit code 4: none",
    ]


def test_figures_are_read_out_of_the_reports(tmp_path):
    report = {"sizes": {"640x480": {"contenders": {
        "torchvision float32": {"p50_ms": 12.9}, "torchvision amp": {}, "ours half graph": {"p50_ms": 4.3},
    }}}}  # fmt: skip
    assert card.gpu_figures(report) == {
        "640x480 torchvision float32, p50 ms": 12.9,
        "640x480 ours half graph, p50 ms": 4.3,
        "640x480, times as fast as torchvision": 3.0,
    }
    rows = {"nano x1": {"p50_ms": 2.77, "frames_per_s": 350.0}, "nano x16": {"error": "ModelError: not found"}}
    assert card.shipped_figures(rows) == {"nano x1": "2.77 ms, 350 frames/s", "nano x16": "ModelError: not found"}
    losses = tmp_path / "losses.csv"
    losses.write_text("images_seen,loss,images_per_s\n64,2.5,80\n128,2,500\n192,1.5,520\n")
    assert card.train_figures(losses) == {"images/s": 510.0, "images seen": 192, "loss, first and last": "2.500, 1.500"}
    assert card.tests_figures("..\n==== 3 passed, 9 deselected in 8.1s ====\n") == {
        "pytest": "3 passed, 9 deselected in 8.1s"
    }
    bench = {"frames_per_s": 133.0, "live": {"frames_per_s": 102.0}, "provider": "cuda"}
    assert card.bench_figures(json.dumps(bench)) == {"frames/s": 133.0, "live frames/s": 102.0, "on": "cuda"}
    assert card.doctor_figures('{"verdict": "the app runs here"}') == {"verdict": "the app runs here"}


def test_no_step_takes_half_of_the_five_minutes():
    steps = card.measurements(None, None, Path("out"), "cuda", "resnet50", "640x480", 64, "60s")

    assert [step.name for step in steps] == ["doctor", "gpu", "shipped", "train", "bench", "tests"]
    assert max(step.limit_s for step in steps) < 150


def test_a_shipped_model_is_timed_and_a_form_that_does_not_run_has_a_reason(monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "WARM_UP_RUNS", 1)
    report = tmp_path / "shipped.json"
    (tmp_path / "pico-16.onnx").write_bytes(b"no graph")
    (tmp_path / "64x64-half.onnx").write_bytes(b"not of these models")

    with pytest.raises(shipped.typer.Exit):
        shipped.measure(tmp_path, shipped.Provider.CPU, 0.0, "pico", report)

    rows = json.loads(report.read_text())
    assert list(rows) == ["pico x1", "pico-16"]
    assert 0 < rows["pico x1"]["network_p50_ms"] < rows["pico x1"]["p50_ms"]
    assert rows["pico x1"]["runs"] == 1
    assert "ModelError" in rows["pico-16"]["error"]


def test_graphs_that_were_prepared_are_not_exported_again(tmp_path):
    kept = tmp_path / "64x64-half.onnx"
    kept.touch()

    assert gpu.exported(gpu.untrained("nano"), "64x64", "half", tmp_path) == kept
    assert kept.stat().st_size == 0


def run_card(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, SCRIPT, *map(str, arguments)], capture_output=True, text=True, timeout=600, check=False
    )


def test_unknown_step_is_named(tmp_path):
    done = run_card("--only", "gpu,coffee", "--out", tmp_path)

    assert done.returncode == 2
    assert "no such step: coffee" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_of_it_on_the_cpu(tmp_path):
    prepared, out = tmp_path / "prepared", tmp_path / "card"
    done = run_card("--prepare", prepared, "--arch", "nano", "--size", "64x64", "--out", out, "--only", "graphs")
    assert done.returncode == 0, done.stdout
    graphs = {"64x64-float32.onnx", "64x64-half.onnx", "64x64-half-short.onnx", "nano-short-16.onnx"}
    assert {path.name for path in prepared.iterdir()} == {"nano.pt", *graphs}

    data = make_data_set(tmp_path / "data", train=6, val=2)
    small = ("--device", "cpu", "--arch", "nano", "--size", "64x64", "--batch-size", "2", "--train-time", "40s")
    done = run_card("--prepared", prepared, "--data", data, "--out", out, *small, "--only", "doctor,train,tests")

    report = json.loads((out / "card.json").read_text())
    found = {step["name"]: step for step in report["steps"]}
    assert found["doctor"]["figures"]["verdict"]
    assert found["train"]["figures"]["images/s"] > 0, done.stdout
    assert "deselected" in found["tests"]["figures"]["pytest"]
    assert done.stdout.splitlines()[-1] == f"wrote {out}/card.json"
