import email.message
import io
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from torchvision.models import mobilenet_v3_small
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead

from train.errors import TrainError
from train.models.architectures import ModelConfig, build_model
from train.models.checkpoint import Checkpoint
from train.models.weights import PRETRAINED, architecture_of, initial_model

NANO = ModelConfig("nano", ("face", "eye"), 64)
PREDICTOR = "roi_heads.box_predictor."


def random_model(arch="nano", names=("face", "eye")):
    torch.manual_seed(7)
    return build_model(ModelConfig(arch, names, 64))


def equal_tensors(state, other) -> set[str]:
    return {name for name in state if state[name].shape == other[name].shape and torch.equal(state[name], other[name])}


def first_channels(state, narrow):
    """The part of each tensor that came from one with fewer channels."""
    return {name: state[name][tuple(slice(n) for n in value.shape)] for name, value in narrow.items()}


@pytest.fixture
def hub_folder(tmp_path, monkeypatch) -> Path:
    """Where torchvision keeps its downloads; empty here."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def network(monkeypatch):
    """Decide what any download gives: an exception to raise or the bytes of the answer."""

    class Response(io.BytesIO):
        info = email.message.Message

    def answer(content: Exception | bytes) -> None:
        def urlopen(_request):
            if isinstance(content, Exception):
                raise content
            return Response(content)

        monkeypatch.setattr(torch.hub, "urlopen", urlopen)

    answer(AssertionError("a test must not use the network"))
    return answer


def test_none_is_a_random_start():
    torch.manual_seed(7)

    assert equal_tensors(initial_model(NANO, "none").model.state_dict(), random_model().state_dict()) == set(
        random_model().state_dict()
    )


def test_checkpoint_of_other_classes_gives_all_but_the_predictor(tmp_path):
    source = random_model(names=("cat", "dog", "bird"))
    path = tmp_path / "best.pt"
    Checkpoint(ModelConfig("nano", ("cat", "dog", "bird"), 64), source.state_dict(), {}).save(path)
    torch.manual_seed(1)

    start = initial_model(NANO, str(path))
    state = start.model.state_dict()

    assert start.reinitialized == ("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred")
    assert start.new_classes == NANO.class_names
    torch.manual_seed(1)
    fresh = build_model(NANO).state_dict()
    of_predictor = {name for name in state if name.startswith(PREDICTOR)}
    assert len(of_predictor) == 4
    assert equal_tensors(state, source.state_dict()) == set(state) - of_predictor
    assert equal_tensors(state, fresh) >= of_predictor


def test_checkpoint_of_the_same_classes_gives_everything(tmp_path):
    source = random_model()
    Checkpoint(NANO, source.state_dict(), {}).save(tmp_path / "best.pt")

    start = initial_model(NANO, str(tmp_path / "best.pt"))
    state = start.model.state_dict()

    assert start.reinitialized == ()
    assert equal_tensors(state, source.state_dict()) == set(state)


def test_checkpoint_with_fewer_channels_is_widened(tmp_path):
    source = random_model()
    narrow_head = TwoMLPHead(64 * 7 * 7, 32)
    source.roi_heads.box_head, source.roi_heads.box_predictor = narrow_head, FastRCNNPredictor(32, 3)
    Checkpoint(NANO, source.state_dict(), {}).save(tmp_path / "best.pt")

    start = initial_model(NANO, str(tmp_path / "best.pt"))

    assert start.reinitialized == ()
    images = [torch.rand(3, 64, 64)]
    torch.manual_seed(2)
    [expected], [found] = source.eval()(images), start.model.eval()(images)
    for name, value in expected.items():
        assert torch.allclose(found[name].float(), value.float(), atol=1e-3), name


def test_plain_state_dict_file(tmp_path):
    source = random_model()
    torch.save(source.state_dict(), tmp_path / "weights.pth")

    state = initial_model(NANO, str(tmp_path / "weights.pth")).model.state_dict()

    assert equal_tensors(state, source.state_dict()) == set(state)


def to_int8(tensor):
    """int8 values and a scale of each output channel, for weights; other tensors as they are."""
    if tensor.dim() < 2:
        return tensor
    scales = (tensor.abs().flatten(1).amax(1) / 127).clamp(min=1e-12)
    return (tensor / scales.view(-1, *[1] * (tensor.dim() - 1))).round().to(torch.int8), scales


def test_weights_stored_as_int8_with_scales_are_read(tmp_path):
    source = random_model().state_dict()
    torch.save({"model": {name: to_int8(value) for name, value in source.items()}, "info": {}}, tmp_path / "int8.pt")

    start = initial_model(NANO, str(tmp_path / "int8.pt"))

    assert start.reinitialized == ()
    for name, value in start.model.state_dict().items():
        step = source[name].abs().max().float() / 127
        assert (value.float() - source[name].float()).abs().max() <= step, name


@pytest.mark.parametrize("kept", ["trained", "frozen"])
def test_norms_of_a_state_dict_are_frozen_if_they_have_counted_no_batches(tmp_path, kept):
    state = random_model("resnet50").state_dict()
    if kept == "frozen":
        state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "weights.pth")

    config = initial_model(ModelConfig("resnet50", ("face", "eye"), 64), str(tmp_path / "weights.pth")).config

    assert config.frozen_norm == (kept == "frozen")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: random_model("mobile").state_dict(), r"only \d+ of \d+ tensors fit; it is of another architecture"),
        (lambda: mobilenet_v3_small().state_dict(), r"only 0 of \d+ tensors fit; it is of another architecture"),
        (lambda: [1, 2, 3], "neither a checkpoint of this project nor a torchvision state dict"),
        (lambda: {"epoch": 3}, "neither a checkpoint of this project nor a torchvision state dict"),
    ],
    ids=["another detector", "classifier", "list", "dict"],
)
def test_file_of_something_else_is_refused(tmp_path, content, message):
    path = tmp_path / "weights.pth"
    torch.save(content(), path)

    with pytest.raises(TrainError, match=message) as error:
        initial_model(NANO, str(path))

    assert str(error.value).startswith(f"{path}: ")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(TrainError, match=r"cannot read .*weights\.pth: not found"):
        initial_model(NANO, str(tmp_path / "weights.pth"))


def test_coco_loads_the_body_from_the_download_folder(hub_folder):
    torch.manual_seed(7)
    body = mobilenet_v3_small().state_dict()
    torch.save(body, hub_folder / Path(PRETRAINED["nano"].url).name)
    torch.manual_seed(1)

    loaded = initial_model(NANO, "coco").model.backbone.body.state_dict()

    assert len(loaded) > 100
    pretrained = {name: body[f"features.{name}"] for name in loaded}
    assert equal_tensors(first_channels(loaded, pretrained), pretrained) == set(loaded)


def test_coco_loads_the_whole_of_resnet50_but_the_predictor(coco_weights):
    state = initial_model(ModelConfig("resnet50", ("face", "eye"), 64), "coco").model.state_dict()

    assert state[f"{PREDICTOR}cls_score.weight"].shape[0] == 3
    others = {name: value for name, value in state.items() if not name.startswith(PREDICTOR)}
    assert equal_tensors(others, coco_weights) == set(others)


@pytest.mark.parametrize(
    ("arch", "content"),
    [
        ("nano", URLError("no route to host")),
        ("mobile", URLError("no route to host")),
        ("resnet50", URLError("no route to host")),
        ("nano", OSError("connection reset")),
        ("nano", b"<html>please log in</html>"),
    ],
)
def test_failed_download_says_what_to_do(hub_folder, network, arch, content):
    network(content)

    with pytest.raises(TrainError) as error:
        initial_model(ModelConfig(arch, ("face",), 64), "coco")

    message = str(error.value)
    assert PRETRAINED[arch].url in message
    assert str(hub_folder) in message
    assert "--weights none" in message
    assert "--weights FILE" in message
    assert "\n" not in message


@pytest.mark.parametrize("content", [b"<html>please log in</html>", b"PK\x03\x04 cut off"])
def test_damaged_download_is_named(hub_folder, content):
    path = hub_folder / Path(PRETRAINED["nano"].url).name
    path.write_bytes(content)

    with pytest.raises(TrainError) as error:
        initial_model(NANO, "coco")

    assert path.name in str(error.value)


def predictor_rows(model):
    """Scores and deltas by label: (C+1,1+4,...) each."""
    state = {name.removeprefix(PREDICTOR): value for name, value in model.state_dict().items() if PREDICTOR in name}
    rows = [(state[f"cls_score.{kind}"], state[f"bbox_pred.{kind}"]) for kind in ("weight", "bias")]
    return [torch.cat([scores.unflatten(0, (-1, 1)), deltas.unflatten(0, (-1, 4))], 1) for scores, deltas in rows]


@pytest.mark.parametrize("arch", ["nano", "mobile"])
def test_classes_keep_what_predicts_them_wherever_they_are_among_others(tmp_path, arch):
    names = ("eye", "face", "mouth")
    source = random_model(names=names)
    Checkpoint(ModelConfig("nano", names, 64), source.state_dict(), {}).save(tmp_path / "best.pt")
    wanted = ("glasses", "Face", "eye")
    torch.manual_seed(1)

    start = initial_model(ModelConfig(arch, wanted, 64), str(tmp_path / "best.pt"))

    assert start.new_classes == ("glasses",)
    assert start.reinitialized == ()
    for known, found in zip(predictor_rows(source), predictor_rows(start.model), strict=True):
        inputs = tuple(slice(n) for n in known.shape[2:])
        for old, new in ((0, 0), (1, 3), (2, 2)):  # background, eye, face
            assert torch.equal(found[new][(slice(None), *inputs)], known[old])
            assert found[new].abs().sum() == pytest.approx(known[old].abs().sum().item())  # new channels give nothing
        assert not torch.equal(found[1][(slice(None), *inputs)], known[1])


def test_classes_in_another_order_are_found_as_before(tmp_path):
    source = random_model(names=("face", "eye"))
    Checkpoint(NANO, source.state_dict(), {}).save(tmp_path / "best.pt")

    start = initial_model(ModelConfig("nano", ("eye", "face"), 64), str(tmp_path / "best.pt"))

    assert (start.reinitialized, start.new_classes) == ((), ())
    for known, found in zip(predictor_rows(source), predictor_rows(start.model), strict=True):
        assert torch.equal(found, known[[0, 2, 1]])


def test_as_many_classes_of_other_names_may_be_translations(tmp_path):
    source = random_model(names=("face", "eye"))
    Checkpoint(NANO, source.state_dict(), {}).save(tmp_path / "best.pt")

    start = initial_model(ModelConfig("nano", ("Gesicht", "Auge"), 64), str(tmp_path / "best.pt"))

    assert (start.reinitialized, start.new_classes) == ((), ())
    assert equal_tensors(start.model.state_dict(), source.state_dict()) == set(source.state_dict())


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("nano", "nano"), ("pico", "pico"), ("mobile", "mobile"), ("coco", None), ("none", None), ("not/there.pt", None)],
)
def test_shipped_detectors_say_what_they_are(weights, expected):
    assert architecture_of(weights) == expected


def test_checkpoints_say_what_they_are_and_state_dicts_do_not(tmp_path):
    state = random_model().state_dict()
    Checkpoint(NANO, state, {}).save(tmp_path / "best.pt")
    torch.save(state, tmp_path / "weights.pth")

    assert architecture_of(str(tmp_path / "best.pt")) == "nano"
    assert architecture_of(str(tmp_path / "weights.pth")) is None
