"""Source and model are opened side by side."""

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fakes import WAIT_S, ScriptedSource, stub_model

from realtime.commands.opening import open_both, open_detector
from realtime.errors import ModelError, SourceError
from realtime.inference.detector import OnnxDetector
from realtime.inference.providers import Provider


@pytest.fixture
def loading(monkeypatch) -> threading.Event:
    """Set while the model is being loaded."""
    begun, load = threading.Event(), OnnxDetector.__init__

    def noticed(*args: object, **kwargs: object) -> None:
        begun.set()
        load(*args, **kwargs)

    monkeypatch.setattr(OnnxDetector, "__init__", noticed)
    return begun


def opener(model: Path) -> Callable[[], OnnxDetector]:
    return partial(open_detector, str(model), Provider.CPU)


def loaders() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("load")]


def test_the_model_is_loaded_while_the_source_opens(tmp_path, loading):
    source = ScriptedSource()

    def open_source() -> ScriptedSource:
        assert loading.wait(WAIT_S)
        return source

    opened, detector = open_both(open_source, opener(stub_model(tmp_path / "m.onnx")), Provider.CPU)

    assert opened is source
    assert source.closed == 0
    assert detector.metadata.class_names == ("face", "eye")
    assert not loaders()


def test_a_source_is_closed_when_there_is_no_model(tmp_path):
    source = ScriptedSource()
    with pytest.raises(ModelError, match=r"gone\.onnx"):
        open_both(lambda: source, opener(tmp_path / "gone.onnx"), Provider.CPU)
    assert source.closed == 1
    assert not loaders()


def test_the_error_of_the_source_comes_first(tmp_path):
    def open_source() -> ScriptedSource:
        raise SourceError("cannot open camera 0: not found")

    with pytest.raises(SourceError, match="camera 0"):
        open_both(open_source, opener(tmp_path / "gone.onnx"), Provider.CPU)
    assert not loaders()


def test_the_model_of_a_gpu_is_loaded_by_the_thread_that_runs_it(tmp_path, monkeypatch):
    monkeypatch.setattr("realtime.inference.cuda.unavailable_reason", lambda *_: None)
    order = []

    def load() -> OnnxDetector:
        order.append(threading.current_thread())
        return opener(stub_model(tmp_path / "m.onnx"))()

    def open_source() -> ScriptedSource:
        order.append("source")
        return ScriptedSource()

    open_both(open_source, load, Provider.AUTO)
    assert order == [threading.main_thread(), "source"]
