"""benchmarks/cluster.py: what it simulates is right; times mean nothing here."""

import json

import cluster
import pytest
import typer
from batches import batch_of, made_tasks
from cluster import Trouble, simulate_batch
from fakes import stub_model
from typer.testing import CliRunner
from workers import main as compare_workers

FINE = Trouble(slow_share=0, slow_factor=1, deaths_per_hour=0, driver_s=0)


def run(*arguments):
    done = CliRunner().invoke(cluster.app, [*map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


def test_workers_without_trouble_divide_the_work():
    seconds = [10.0] * 400
    for workers in (1, 10, 100):
        row = simulate_batch(seconds, workers, FINE)
        assert row.hours == pytest.approx(4000 / workers / 3600)
        assert (row.speed_up, row.busy) == (pytest.approx(workers), pytest.approx(1))
        assert (row.repeated, row.limit) == (0, "work")


def test_what_limits_is_named():
    assert simulate_batch([3600.0, *[1.0] * 100], 100, FINE).limit == "the longest file"
    row = simulate_batch([1.0] * 1000, 100, Trouble(slow_share=0, slow_factor=1, deaths_per_hour=0, driver_s=0.1))
    assert row.limit == "the driver"
    assert row.hours == pytest.approx(100.9 / 3600)
    assert row.busy < 0.15


def test_slow_workers_do_fewer_files():
    row = simulate_batch([10.0] * 1000, 10, Trouble(slow_share=0.5, slow_factor=3, deaths_per_hour=0, driver_s=0))
    assert row.speed_up == pytest.approx(5 + 5 / 3, rel=0.02)


def test_files_of_workers_that_die_are_done_again():
    row = simulate_batch([60.0] * 500, 10, Trouble(slow_share=0, slow_factor=1, deaths_per_hour=2, driver_s=0))
    assert row.repeated > 5
    assert row.speed_up < 10
    assert row.busy < 1


def test_times_are_taken_from_the_records_of_a_run(tmp_path):
    batch_of(tmp_path, made_tasks(tmp_path, {"a": "1", "b": "22"})).run()
    out = tmp_path / "cluster.json"
    printed = run("simulate", tmp_path / "out" / ".realtime", "--files", 50, "--json", out)
    report = json.loads(out.read_text())
    assert [row["workers"] for row in report["rows"]] == [1, 10, 100]
    assert report["mean_s"] == pytest.approx(0.1)
    assert "limited by" in printed
    assert CliRunner().invoke(cluster.app, ["simulate", str(tmp_path)]).exit_code == 2


def test_overhead_and_memory_are_measured(tmp_path):
    out = tmp_path / "overhead.json"
    assert "overhead" in run("overhead", "--images", 5, "--rounds", 1, "--json", out)
    report = json.loads(out.read_text())
    assert report["batch_ms"]["median"] > 0
    assert "growth after the first tenth" in run("memory", "--tasks", 20, "--json", out)
    assert len(json.loads(out.read_text())["peaks_mb"]) == 11


@pytest.mark.slow
def test_two_workers_are_compared_with_one(tmp_path):
    model = stub_model(tmp_path / "m.onnx")
    options = ["--clips", 2, "--frames", 3, "--long-s", 24, "--size", "64x48", "--model", model]
    app = typer.Typer()
    app.command()(compare_workers)
    done = CliRunner().invoke(app, [*map(str, options), "--json", str(tmp_path / "workers.json")])
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "workers.json").read_text())["rows"]
    assert [list(row["checks"].values()) for row in rows] == [[True], [True, True, True]]
    assert "720 frames: the same" in done.output
