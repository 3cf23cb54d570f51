"""Errors: flag-free in the library, with options and commands on the command line, and fit to cross processes."""

import ast
import importlib
import pickle
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest
from fakes import metadata, stub_model, without_driver

import realtime
from realtime.batch.images import find_images
from realtime.batch.videos import find_videos
from realtime.errors import ModelError, ProviderError, RealtimeError, Remedy, SinkError, SourceError
from realtime.image_arrays import as_bgr
from realtime.image_io import read_image, write_image
from realtime.inference.detector import OnnxDetector, find_model
from realtime.inference.providers import Provider
from realtime.labelling.inputs import find_inputs
from realtime.letterbox import check_image
from realtime.metadata import ModelMetadata
from realtime.sinks.encoding import Encoding, choose
from realtime.sources.opening import CameraMode, open_live
from realtime.sources.stream import StreamOptions
from realtime.sources.video_file import VideoFileSource
from realtime.stopping import Stopped
from realtime.wording import error_line, option, remedy_text

IMAGE = np.zeros((8, 9, 3), np.uint8)
PACKAGE = Path(realtime.__file__).parent
COMMAND_LINE = {"commands", "doctor", "cli.py", "wording.py"}
FLAG = re.compile(r"(?<![\w-])--[a-z]|python -m|\brealtime (?:cam|video|image|bench|doctor)\b")


def docstrings_of(tree: ast.Module) -> set[int]:
    """Identities of the nodes that are texts of their own: docstrings, also of attributes."""
    return {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}


def texts_with_flags(source: str) -> list[str]:
    tree = ast.parse(source)
    docstrings = docstrings_of(tree)
    texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [node.value for node in texts if id(node) not in docstrings and FLAG.search(node.value)]


@pytest.mark.parametrize(
    "source",
    [
        'raise E("--codec x: no")',
        'text = f"use --provider {p}"',
        'text = "with: python -m export"',
        'text = "see realtime doctor"',
    ],
)
def test_flags_are_recognized(source):
    assert texts_with_flags(source)


def test_the_library_says_nothing_of_the_command_line():
    modules = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in COMMAND_LINE]
    assert len(modules) > 50
    found = {str(path.relative_to(PACKAGE)): texts_with_flags(path.read_text(encoding="utf-8")) for path in modules}
    assert {path: texts for path, texts in found.items() if texts} == {}


def error_classes() -> list[type[RealtimeError]]:
    for module in pkgutil.walk_packages(realtime.__path__, "realtime."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: list[type[RealtimeError]] = [RealtimeError]
    for cls in found:
        found += cls.__subclasses__()
    return [cls for cls in found if cls.__module__.startswith("realtime.")]


def calls_without_value(source: str, names: set[str]) -> list[int]:
    """Lines on which an error is made that does not carry what it is about."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in names]
    return [call.lineno for call in made if "value" not in {keyword.arg for keyword in call.keywords}]


def test_every_error_of_the_library_carries_what_it_is_about():
    names = {cls.__name__ for cls in error_classes()}
    assert calls_without_value('raise SinkError(f"cannot write {path}", remedy="make room")', names) == [1]
    modules = [path for path in PACKAGE.rglob("*.py") if path.relative_to(PACKAGE).parts[0] not in COMMAND_LINE]
    found = {path.name: calls_without_value(path.read_text(encoding="utf-8"), names) for path in modules}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("kind", "call", "value", "remedy"),
    [
        (SourceError, lambda _: realtime.Detector("pico")("no.jpg"), Path("no.jpg"), ""),
        (SourceError, lambda _: realtime.stream("no.mp4"), Path("no.mp4"), ""),
        (SourceError, realtime.stream, Path(), ""),
        (ModelError, lambda _: realtime.Detector("no.onnx"), "no.onnx", ""),
        (SinkError, lambda folder: write_image(folder / "a.txt", IMAGE), Path("a.txt"), ""),
        (SinkError, lambda folder: write_image(folder / "no" / "a.png", IMAGE), Path("no/a.png"), ""),
        (realtime.ImageError, lambda _: as_bgr(IMAGE.transpose(2, 0, 1)), (3, 8, 9), "transpose it with"),
        (realtime.ImageError, lambda _: as_bgr(IMAGE + 300.0), (300.0, 300.0), "scale them first"),
        (realtime.ImageError, lambda _: as_bgr(IMAGE.astype(complex)), np.dtype(complex), ""),
        (realtime.ImageError, lambda _: as_bgr([1, 2]), list, ""),
    ],
)
def test_an_error_is_understood_without_its_words(tmp_path, kind, call, value, remedy):
    with pytest.raises(kind) as raised:
        call(tmp_path)
    found = raised.value.value
    assert (found.relative_to(tmp_path) if isinstance(found, Path) and found.is_absolute() else found) == value
    assert raised.value.remedy.text.startswith(remedy)
    assert bool(raised.value.remedy.text) == bool(remedy)


def test_every_error_survives_pickling():
    classes = error_classes()
    assert {SourceError, SinkError, ModelError, ProviderError} < set(classes)
    for cls in classes:
        remedy = Remedy("do this", parameter="provider", values=("cpu",), tool="export", target="m.onnx")
        error = cls("it is broken", parameter="model", value=Path("m.onnx"), remedy=remedy)
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is cls
        assert vars(copy) == vars(error)
        assert (str(copy), error_line(copy)) == (str(error), error_line(error))


def test_a_request_to_stop_survives_pickling():
    assert pickle.loads(pickle.dumps(Stopped(15))).exit_code == 143


@pytest.mark.parametrize(
    ("error", "text", "line"),
    [
        (SourceError("cannot open video x.mp4: not found"), "cannot open video x.mp4: not found", None),
        (SinkError("not there", parameter="codec", value="x"), "codec x: not there", "--codec x: not there"),
        (ModelError("not there", parameter="size_wh", value="1x1"), "size_wh 1x1: not there", "--size 1x1: not there"),
        (SinkError("it is full", remedy="make room"), "it is full; make room", None),
        (
            ProviderError("no", remedy=Remedy("wait", parameter="provider", values=("cpu", "cuda"))),
            "no; wait, or use provider cpu or cuda",
            "no; wait, or use --provider cpu or cuda",
        ),
        (
            ProviderError("no", remedy=Remedy(parameter="provider", values=("cpu",))),
            "no; use provider cpu",
            "no; use --provider cpu",
        ),
        (
            ModelError("no", remedy=Remedy("export it again", tool="export", target="my model.onnx")),
            "no; export it again",
            "no; export it again with: realtime export onnx CHECKPOINT -o 'my model.onnx'",
        ),
        (SourceError("a\nb\x1b[2J", value=1), "a b\N{REPLACEMENT CHARACTER}[2J", None),
        (
            SourceError("not found", parameter="device", value="rtsp://me:secret@host/x"),
            "device rtsp://***@host/x: not found",
            "--device rtsp://***@host/x: not found",
        ),
    ],
)
def test_an_error_is_one_line_for_each_reader(error, text, line):
    assert str(error) == text
    assert error_line(error) == (line or text)


def test_fields_say_what_was_tried():
    with pytest.raises(SinkError) as raised:
        choose(Path("out.mp4"), Encoding(codec="theora"))
    error = raised.value
    assert (error.parameter, error.value) == ("codec", "theora")
    assert error.message == "there is no encoder for it here"
    assert error.remedy.text.startswith("choose h264")
    assert error.reason == f"there is no encoder for it here; {error.remedy.text}"


def raised_by(call) -> RealtimeError:
    with pytest.raises(RealtimeError) as raised:
        call()
    return raised.value


def open_device(device: str, **mode: object) -> None:
    open_live(device, mode=CameraMode(**mode), stream=StreamOptions(), reconnect=None, on_message=print)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: find_model("nix"), "--model nix: neither a file nor a model that comes with the app (there: "),
        (
            lambda: choose(Path("out.webm"), Encoding(codec="h264")),
            "cannot write out.webm: .webm does not hold h264; use a name that ends in .mp4, .m4v, .mov, .mkv, "
            "or use --codec av1 or vp9",
        ),
        (lambda: choose(Path("out.mp4"), Encoding(crf=60)), "--crf 60: h264 takes 0 (best) to 51"),
        (lambda: choose(Path("out.gif"), Encoding()), "cannot write out.gif: unknown kind of video; use a name that "),
        (lambda: open_device("nix"), "--device nix: neither a camera's number or device file"),
        (lambda: open_device(__file__), "it is a file; open it as a video file with: realtime video /"),
        (lambda: open_device("rtsp://x", size_wh=(640, 480)), "--size 640x480: only cameras can be asked for it"),
        (lambda: open_device("97"), "not found or in use; check which cameras there are with: realtime doctor"),
        (
            lambda: ModelMetadata.from_props({}, "m.onnx"),
            "m.onnx: this ONNX file has no metadata of this app; export it again with: "
            "realtime export onnx CHECKPOINT -o m.onnx",
        ),
        (
            lambda: read_image(Path("https://me:secret@host/a.jpg")),
            "cannot read image https://***@host/a.jpg: it is an address, not a file; download it, or open it as a live "
            "stream with: realtime cam --device https://***@host/a.jpg",
        ),
        (
            lambda: VideoFileSource(Path("rtsp://me:secret@host/x")),
            "cannot open video rtsp://***@host/x: it is an address, not a file; download it, or open it as a live ",
        ),
        (lambda: find_videos(["rtsp://host/x?id=1"]), "with: realtime cam --device 'rtsp://host/x?id=1'"),
        (lambda: find_images(["http://host/a.png"]), "with: realtime cam --device http://host/a.png"),
        (lambda: find_inputs([Path("http://host/a.png")]), "cannot label http://host/a.png: it is an address"),
        (lambda: read_image(Path("http:/nix:1/a.png")), "with: realtime cam --device http://nix:1/a.png"),
        (lambda: read_image(Path("c:/nix.png")), "cannot read image c:/nix.png: not found"),
        (lambda: check_image(np.zeros((4, 4), np.float32)), "expected an image uint8 (height, width, 3), found"),
    ],
)
def test_the_command_line_adds_options_and_commands(call, line):
    error = raised_by(call)
    assert line in error_line(error)
    assert not FLAG.search(str(error))


@pytest.mark.skipif(not without_driver(), reason="this machine has an NVIDIA driver")
def test_a_provider_that_does_not_work_is_named_once(tmp_path):
    model = stub_model(tmp_path / "m.onnx", contract=metadata())
    error = raised_by(lambda: OnnxDetector(model, provider=Provider.CUDA))
    assert (error.parameter, error.value) == ("provider", "cuda")
    assert error_line(error).startswith("--provider cuda: ")
    assert str(error).startswith("provider cuda: ")
    reason = OnnxDetector(model).fallback_reason
    assert reason == error.reason
    assert "provider" not in reason


def test_options_are_named_as_their_parameters():
    assert (option("read_timeout"), option("frame_rate")) == ("--read-timeout", "--fps")
    assert remedy_text(Remedy()) == ""
