"""ONNX files that mean harm, or are merely wrong: refused with one line, or their rows dropped; never a crash."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from fakes import metadata, stub_model
from onnx import TensorProto, helper

from realtime.errors import ModelError
from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider
from realtime.metadata import KEY_PREFIX, ModelMetadata

PICTURE = np.zeros((64, 64, 3), np.uint8)
NAN, INF = float("nan"), float("inf")
GOOD = ([8, 16, 40, 48], 0.9, 0)
ESCAPE = "\x1b]0;owned\x07\x1b[2J"


def detect(path):
    return OnnxDetector(path, provider=Provider.CPU).detect(PICTURE)


def refused(path):
    with pytest.raises(ModelError) as raised:
        detect(path)
    text = str(raised.value)
    assert text.isprintable()
    assert len(text) < 1500
    return text


# Metadata


def props(**changes):
    return metadata().to_props() | {KEY_PREFIX + key: text for key, text in changes.items()}


@pytest.mark.parametrize(
    "names",
    [
        ["face", ESCAPE],
        ["face", "\x9b31m"],
        ["face", "a\nb"],
        ["face", "a\u2028b"],
        ["face", "\ud800"],
        ["face", "\u202egnp.exe"],
        ["face", "\0"],
        ["face", "x" * 201],
        ["face", " "],
        [["face"], "eye"],
        {"0": "face"},
    ],
)
def test_class_names_that_cannot_be_printed_and_drawn_are_refused(tmp_path, names):
    text = refused(stub_model(tmp_path / "m.onnx", props=props(class_names=json.dumps(names))))
    assert "metadata key 'class_names' has a bad value" in text


@pytest.mark.parametrize("names", [["Gesicht", "œil"], ["چهره", "می‌بیند"], ["顔", "👁️"], ["a b", "c-d_e"]])
def test_class_names_of_any_script_are_taken(names):
    text = json.dumps(names)
    assert ModelMetadata.from_props(props(class_names=text), "m.onnx").class_names == tuple(names)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("threshold", "NaN", "has a bad value"),
        ("threshold", "1e999", "has a bad value"),
        ("min_score", "-Infinity", "has a bad value"),
        ("max_detections", "1" * 5000, "is not JSON"),
        ("max_detections", "1e3", "has a bad value"),
        ("input_wh", "[1000000, 1000000]", "has a bad value"),
        ("input_wh", "[8193, 64]", "has a bad value"),
        ("input_wh", "[64, 64, 64]", "has a bad value"),
        ("training", "[" * 50_000 + "]" * 50_000, "is not JSON"),
        ("training", '{"a":' * 100_000, "is not JSON"),
        ("training", '{"a": "' + "x" * 2_000_000 + '"}', "is too long: 2000009 characters"),
        ("architecture", json.dumps(ESCAPE), "has a bad value"),
        ("architecture", '"\x7f\x9b31m"', "has a bad value"),
        ("schema_version", "null", "has a bad value"),
        ("padding_value", "true", "has a bad value"),
    ],
)
def test_values_out_of_bounds_are_refused(tmp_path, key, text, message):
    assert f"metadata key '{key}' {message}" in refused(stub_model(tmp_path / "m.onnx", props=props(**{key: text})))


def test_what_is_for_people_alone_may_hold_anything(tmp_path):
    path = stub_model(tmp_path / "m.onnx", props=props(training='{"loss": NaN, "a": {"b": [1e999]}}'))
    assert len(detect(path)) == 2


# Graphs that are not what the metadata say


def edited(tmp_path, edit):
    """A stub model whose graph was changed."""
    path = stub_model(tmp_path / "m.onnx")
    model = onnx.load(path)
    edit(model.graph)
    path.write_bytes(model.SerializeToString())
    return path


def replace_scores(graph, *nodes):
    """Compute the scores in another way, with a number ``n`` that is only known when the graph runs: 0."""
    for node in list(graph.node):
        if node.output[0] == "scores":
            graph.node.remove(node)
    graph.node.append(helper.make_node("Cast", ["nothing"], ["n"], to=TensorProto.INT64))
    graph.node.extend(nodes)


def constant(graph, name, *values):
    graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, [len(values)], values))


def fewer_rows_than_declared(graph):
    constant(graph, "first", 0)
    constant(graph, "two", 2)
    replace_scores(
        graph,
        helper.make_node("Add", ["n", "two"], ["end"]),
        helper.make_node("Slice", ["s", "first", "end"], ["scores"]),
    )


def index_out_of_range(graph):
    constant(graph, "hundred", 100)
    replace_scores(
        graph,
        helper.make_node("Add", ["n", "hundred"], ["index"]),
        helper.make_node("Gather", ["s", "index"], ["none"], name=f"evil{ESCAPE}"),
        helper.make_node("Add", ["none", "s"], ["scores"]),
    )


def exabytes(graph):
    constant(graph, "size", 1 << 60)
    replace_scores(
        graph,
        helper.make_node("Add", ["n", "size"], ["big"]),
        helper.make_node("ConstantOfShape", ["big"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["zero_again"], keepdims=0),
        helper.make_node("Add", ["s", "zero_again"], ["scores"]),
    )


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (fewer_rows_than_declared, "not the 4 rows that its metadata say"),
        (index_out_of_range, "the network failed on cpu"),
        (exabytes, "the network failed on cpu"),
    ],
)
def test_a_graph_that_fails_while_it_runs_is_one_line(tmp_path, edit, message):
    assert message in refused(edited(tmp_path, edit))


def swap_names(graph):
    for value in (*graph.input, *graph.output):
        value.name = {"image": "boxes", "boxes": "image"}.get(value.name, value.name)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [{"image": "boxes", "boxes": "image"}.get(name, name) for name in names]


def second_input(graph):
    graph.input.append(helper.make_tensor_value_info(f"more{ESCAPE}" * 200, TensorProto.FLOAT, ["batch", None]))


def any_height(graph):
    graph.input[0].type.tensor_type.shape.dim[1].dim_param = f"h{ESCAPE}"


def a_thousand_outputs(graph):
    for i in range(1000):
        graph.node.append(helper.make_node("Identity", ["l"], [f"more{i}"]))
        graph.output.append(helper.make_tensor_value_info(f"more{i}", TensorProto.INT64, [4]))


@pytest.mark.parametrize("edit", [swap_names, second_input, any_height, a_thousand_outputs])
def test_other_inputs_and_outputs_than_promised_are_refused(tmp_path, edit):
    assert "graph and metadata disagree" in refused(edited(tmp_path, edit))


@pytest.mark.parametrize(
    "changes",
    [{"input_wh": (8192, 8192)}, {"max_detections": 100_000}, {"input_wh": (64, 128)}],
)
def test_metadata_larger_than_the_graph_are_refused_before_anything_is_allocated(tmp_path, changes):
    path = stub_model(tmp_path / "m.onnx", props=metadata(**changes).to_props())
    assert "graph and metadata disagree" in refused(path)


@pytest.mark.parametrize(
    "location", ["../secret.bin", "/etc/passwd", "/dev/zero", "link.bin", "nothing.bin", "*/_ORT_MEM_ADDR_/*"]
)
def test_weights_kept_in_a_file_elsewhere_are_refused(tmp_path, location):
    """onnxruntime reads other files than the one it was given only from its folder."""
    (tmp_path / "secret.bin").write_bytes(bytes(64))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to("../secret.bin")

    def point_outside(graph):
        tensor = next(t for t in graph.initializer if t.name == "found")
        tensor.ClearField("float_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", "0"), ("length", "64")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value

    assert "not a readable ONNX model" in refused(edited(folder, point_outside))


# Outputs that mean nothing


@pytest.mark.parametrize(
    "row",
    [
        ([NAN, 16, 40, 48], 0.9, 0),
        ([8, 16, INF, 48], 0.9, 0),
        ([-INF, -INF, INF, INF], 0.9, 0),
        ([8, 16, 40, 48], NAN, 0),
        ([8, 16, 40, 48], INF, 0),
        ([8, 16, 40, 48], 7.0, 0),
        ([8, 16, 40, 48], -0.5, 0),
        ([8, 16, 40, 48], 0.9, 2),
        ([8, 16, 40, 48], 0.9, -1),
        ([8, 16, 40, 48], 0.9, 2**62),
        ([40, 16, 8, 48], 0.9, 0),
        ([8, 16, 8, 48], 0.9, 0),
        ([70, 70, 90, 90], 0.9, 0),
    ],
)
def test_a_row_that_means_nothing_is_dropped_and_the_others_stay(tmp_path, row):
    found = detect(stub_model(tmp_path / "m.onnx", rows=[row, GOOD]))
    assert found.boxes.tolist() == [[8, 16, 40, 48]]
    assert found.scores.tolist() == pytest.approx([0.9])
    assert found.labels.tolist() == [0]
    assert found.boxes.dtype == found.scores.dtype == np.float32


def test_boxes_that_reach_out_of_the_image_are_cut(tmp_path):
    found = detect(stub_model(tmp_path / "m.onnx", rows=[([-3e38, -5, 3e38, 20], 0.9, 0)]))
    assert found.boxes.tolist() == [[0, 0, 64, 20]]


def test_rows_come_best_first_whatever_their_order(tmp_path):
    rows = [([1, 1, 9, 9], 0.2, 0), ([2, 2, 9, 9], 0.0, 1), ([3, 3, 9, 9], 0.8, 1)]
    found = detect(stub_model(tmp_path / "m.onnx", rows=rows))
    assert found.scores.tolist() == pytest.approx([0.8, 0.2])
    assert found.above(0.5).labels.tolist() == [1]


def test_a_score_may_exceed_one_by_rounding(tmp_path):
    row = ([8, 16, 40, 48], float(np.nextafter(np.float32(1), np.float32(2))), 0)
    assert detect(stub_model(tmp_path / "m.onnx", rows=[row])).scores.tolist() == [1.0]


# In the terminal


def test_the_terminal_sees_one_line_without_escapes(tmp_path):
    path = edited(tmp_path, index_out_of_range)
    onnx_file = path.rename(tmp_path / f"m{ESCAPE}.onnx")
    code = "from realtime.cli import run_cli; run_cli()"
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), PICTURE)
    done = subprocess.run(
        [sys.executable, "-c", code, "image", "a.png", "--provider", "cpu", "--model", onnx_file.name],
        cwd=tmp_path, env=os.environ, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: m")
    assert "the network failed on cpu" in line
    assert line.isprintable()
    assert done.stdout == ""
