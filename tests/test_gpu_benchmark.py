"""benchmarks/gpu.py on the CPU, at a size at which its figures mean nothing; and the arithmetic of its roofline."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from onnx import TensorProto, helper, save
from tiny_data import make_data_set

from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import Checkpoint

FOLDER = Path(__file__).parent.parent / "benchmarks"
NAMES = ("face", "eye")
SMALL = ["--device", "cpu", "--sizes", "64x64", "--images", "2", "--rounds", "2", "--threads", "2"]


@pytest.fixture(scope="module")
def roofline():
    spec = importlib.util.spec_from_file_location("roofline", FOLDER / "roofline.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["roofline"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def gpu(*args: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, FOLDER / "gpu.py", *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A nano that was never trained, with two classes."""
    config = ModelConfig("nano", NAMES, 64, {"box_score_thresh": 0.9})
    path = tmp_path_factory.mktemp("gpu") / "best.pt"
    Checkpoint(config, build_model(config).state_dict(), {}).save(path)
    return path


@pytest.mark.slow
def test_all_of_it_runs_on_the_cpu(checkpoint, tmp_path):
    data, out = make_data_set(tmp_path, train=1, val=2, names=NAMES), tmp_path / "figures.json"
    chosen = ["--checkpoint", checkpoint, "--data", data, "--eager", "float32,amp,nonsense", "--json", out]

    result = gpu(*SMALL, *chosen)

    assert result.returncode == 0, result.stderr
    figures = json.loads(out.read_text())
    size = figures["sizes"]["64x64"]
    rows = size["contenders"]
    assert rows.pop("torchvision nonsense") == {}
    assert list(rows) == ["torchvision float32", "torchvision amp", "ours float32", "ours half"]
    for row in rows.values():
        assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["frames_per_s"] > 0
        assert {"mean_f1", "map50_95"} <= row.keys()
    assert list(size["parity"]) == ["ours float32", "ours half"]
    for line in size["roofline"].values():
        least = 1000 * max(line["flop"] / line["flop_per_s"], line["bytes"] / line["bytes_per_s"])
        assert line["least_ms"] == pytest.approx(least, abs=1e-4)
    assert size["roofline"]["half"]["flop"] == size["roofline"]["float32"]["flop"] > 1e7
    assert size["roofline"]["half"]["bytes"] < size["roofline"]["float32"]["bytes"]
    assert "torchvision nonsense" in result.stdout
    assert "does not run here" in result.stdout


@pytest.mark.slow
def test_the_short_tail_is_timed_and_scored_too(checkpoint, tmp_path):
    out = tmp_path / "figures.json"

    result = gpu(*SMALL, "--checkpoint", checkpoint, "--eager", "", "--precisions", "float32,half-short", "--json", out)

    assert result.returncode == 0, result.stderr
    size = json.loads(out.read_text())["sizes"]["64x64"]
    assert list(size["contenders"]) == ["ours float32", "ours half-short"]
    assert all(row["p50_ms"] > 0 for row in size["contenders"].values())
    assert list(size["parity"]) == ["ours float32"]
    assert list(size["roofline"]) == ["float32", "half-short"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_in_one_line():
    result = gpu()

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: no GPU that torch can use; --device cpu tries the script without one\n"


@pytest.mark.slow
def test_accuracy_needs_a_checkpoint(tmp_path):
    result = gpu(*SMALL, "--data", tmp_path / "data.yaml")

    assert result.returncode == 2
    assert "an untrained model has no accuracy" in result.stderr


def test_work_is_counted_layer_by_layer(roofline, tmp_path):
    """A convolution, a depthwise one and a product, each by hand."""
    half = TensorProto.FLOAT16
    values = {"w": [8, 3, 3, 3], "d": [8, 1, 3, 3], "m": [8 * 16 * 16, 10], "b": [10]}
    tensors = [
        helper.make_tensor(name, half, dims, bytes(2 * torch.Size(dims).numel()), raw=True)
        for name, dims in values.items()
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["y"], ["r"]),
        helper.make_node("Conv", ["r", "d"], ["z"], pads=[1, 1, 1, 1], group=8),
        helper.make_node("Flatten", ["z"], ["f"]),
        helper.make_node("Gemm", ["f", "m", "b"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", half, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("out", half, [1, 10])],
        tensors,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), tmp_path / "m.onnx")

    work = roofline.work_of(tmp_path / "m.onnx")

    pixels = 16 * 16
    assert work.flop == 2 * (8 * pixels * 27 + 8 * pixels * 9 + 10 * 8 * pixels)
    elements = (
        (3 * pixels + 216 + 8 * pixels) + (8 * pixels + 72 + 8 * pixels) + (8 * pixels + 8 * pixels * 10 + 10 + 10)
    )
    assert work.bytes == 2 * elements


def test_the_slower_of_arithmetic_and_memory_decides(roofline):
    rates = roofline.Rates(flop_per_s=1e9, bytes_per_s=1e6)
    assert roofline.Work(flop=2e9, bytes=1e6).least_ms(rates) == pytest.approx(2000)
    assert roofline.Work(flop=1e6, bytes=5e6).least_ms(rates) == pytest.approx(5000)


def test_rates_are_those_of_the_work_that_was_timed(roofline, monkeypatch):
    monkeypatch.setattr(roofline, "_best_s", lambda work, _device: (work(), 0.5)[1])
    rates = roofline.rates_of("cpu", torch.float32, side=64, copied=1000)
    assert rates == roofline.Rates(flop_per_s=2 * 64**3 / 0.5, bytes_per_s=2 * 1000 / 0.5)
