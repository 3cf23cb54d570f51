import os
import pickle
from pathlib import Path

import pytest
import torch

from train.errors import TrainError
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import FORMAT, VERSION, Checkpoint, load_checkpoint, load_file

CONFIG = ModelConfig("nano", ("face", "eye"), 64, {"box_score_thresh": 0.2})
INFO = {"data": "data.yaml", "metrics": {"map50": 0.5, "classes": [{"name": "face", "f1": None}]}}


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    return Checkpoint(CONFIG, build_model(CONFIG).state_dict(), INFO, {"step": 3, "rng": torch.get_rng_state()})


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "last.pt"


def test_round_trip(checkpoint, path):
    checkpoint.save(path)

    loaded = load_checkpoint(path)

    assert loaded.config == CONFIG
    assert loaded.info == INFO
    assert loaded.resume["step"] == 3
    assert torch.equal(loaded.resume["rng"], checkpoint.resume["rng"])
    assert loaded.model.keys() == checkpoint.model.keys()
    assert all(torch.equal(value, checkpoint.model[name]) for name, value in loaded.model.items())
    assert os.listdir(path.parent) == ["last.pt"]  # noqa: PTH208 - hidden files too


def test_built_model_has_the_weights_and_is_in_evaluation_mode(checkpoint):
    model = checkpoint.build()

    assert not model.training
    assert model.roi_heads.score_thresh == 0.2
    assert all(torch.equal(value, checkpoint.model[name]) for name, value in model.state_dict().items())


class Harmful:
    """Unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self):
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize("protocol", [2, pickle.DEFAULT_PROTOCOL])
@pytest.mark.parametrize("with_torch", [True, False], ids=["torch.save", "pickle"])
def test_code_in_a_file_is_not_run(tmp_path, path, recwarn, with_torch, protocol):
    content = {"format": FORMAT, "version": VERSION, "config": Harmful(tmp_path / "made")}
    if with_torch:
        torch.save(content, path, pickle_protocol=protocol)
    else:
        path.write_bytes(pickle.dumps(content, protocol=protocol))

    with pytest.raises(TrainError, match="not a readable PyTorch file") as error:
        load_checkpoint(path)

    assert "\n" not in str(error.value)
    assert not recwarn.list  # each would be further lines on stderr
    assert not (tmp_path / "made").exists()
    # The file is as harmful as this test assumes.
    torch.load(path, weights_only=False) if with_torch else pickle.loads(path.read_bytes())
    assert (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"names: [face, eye]\ntrain: images\n",
        b"this is\nsome text\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
        b"a" * 600,
    ],
    ids=["empty", "yaml", "text", "png", "long"],
)
def test_other_files_are_refused(path, recwarn, content):
    path.write_bytes(content)

    with pytest.raises(TrainError, match=r"last\.pt: not a readable PyTorch file"):
        load_checkpoint(path)
    assert not recwarn.list


@pytest.mark.parametrize("kept", [0.01, 0.5, 0.99])
def test_truncated_checkpoint_is_refused(checkpoint, path, kept):
    checkpoint.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])

    with pytest.raises(TrainError, match=r"last\.pt: not a readable PyTorch file \(damaged, or of another format\)"):
        load_checkpoint(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "not a checkpoint of this project. Use a best.pt or last.pt that 'realtime train fit' wrote"),
        ({"weight": torch.zeros(1)}, "not a checkpoint of this project"),
        ({"format": FORMAT, "version": 99}, f"checkpoint version 99, this program reads version {VERSION}"),
        ({"format": FORMAT, "version": VERSION}, "damaged checkpoint: 'config'"),
        (
            {"format": FORMAT, "version": VERSION, "config": {"class_names": ["a"], "colour": 1}, "model": {}},
            "damaged checkpoint",
        ),
    ],
    ids=["list", "state dict", "version", "no config", "unknown option"],
)
def test_files_of_another_kind_are_refused(path, content, message):
    torch.save(content, path)

    with pytest.raises(TrainError) as error:
        load_checkpoint(path)

    assert str(error.value).startswith(f"{path}: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_missing_file_and_folder_are_named(tmp_path, path):
    with pytest.raises(TrainError, match=r"cannot read .*last\.pt: not found"):
        load_file(path)
    with pytest.raises(TrainError):
        load_file(tmp_path)


def test_weights_that_do_not_fit_are_named_in_one_line(checkpoint):
    other = Checkpoint(ModelConfig("mobile", ("face", "eye"), 64), checkpoint.model, {})

    with pytest.raises(TrainError, match="checkpoint weights do not fit 'mobile': ") as error:
        other.build()

    assert "\n" not in str(error.value)


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), RuntimeError("file write\nfailed")])
def test_failed_write_leaves_the_old_file(checkpoint, path, monkeypatch, failure):
    checkpoint.save(path)
    before = path.read_bytes()

    def write_a_part(_content, target):
        target.write(b"half")
        raise failure

    monkeypatch.setattr(torch, "save", write_a_part)
    with pytest.raises(TrainError, match=r"cannot write checkpoint .*last\.pt: ") as error:
        checkpoint.save(path)

    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["last.pt"]


def test_write_into_a_missing_folder_is_named(checkpoint, tmp_path):
    with pytest.raises(TrainError, match=r"cannot write checkpoint .*nowhere"):
        checkpoint.save(tmp_path / "nowhere" / "last.pt")
