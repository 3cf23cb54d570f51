import pytest
import torch
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor

from train.errors import TrainError
from train.models.architectures import ARCHITECTURES, ModelConfig, build_model

NAMES = ("face", "eye", "nose")
LOSSES = {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg"}


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def model(request) -> FasterRCNN:
    torch.manual_seed(0)
    return build_model(ModelConfig(request.param, NAMES, 64))


def test_every_architecture_is_a_torchvision_faster_rcnn_with_a_predictor_of_our_classes(model):
    predictor = model.roi_heads.box_predictor

    assert isinstance(model, FasterRCNN)
    assert isinstance(predictor, FastRCNNPredictor)
    assert predictor.cls_score.out_features == len(NAMES) + 1
    assert predictor.bbox_pred.out_features == 4 * (len(NAMES) + 1)


def test_a_training_step_on_torchvisions_losses_moves_every_part(model):
    torch.manual_seed(0)
    images = [torch.rand(3, 64, 64), torch.rand(3, 64, 64)]
    targets = [
        {"boxes": torch.tensor([[8.0, 8, 40, 50], [30, 30, 60, 44]]), "labels": torch.tensor([1, 3])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},  # an image without objects
    ]
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    losses = model.train()(images, targets)
    sum(losses.values()).backward()
    optimizer.step()

    assert set(losses) == LOSSES
    assert all(torch.isfinite(loss) and loss > 0 for loss in losses.values())
    for part in ("backbone.body", "backbone.fpn", "rpn.head", "roi_heads.box_head", "roi_heads.box_predictor"):
        assert any(not torch.equal(p, before[n]) for n, p in model.named_parameters() if n.startswith(part)), part


def test_detections_are_in_pixels_of_an_input_that_is_not_resized(model):
    # torchvision's own transform would make the shorter side 64 px, the size of the config.
    image = torch.rand(3, 96, 128, generator=torch.Generator().manual_seed(0))
    # Raise all scores, so that there is something to see: untrained, background wins everywhere.
    model.roi_heads.score_thresh, before = 0.0, model.roi_heads.score_thresh

    with torch.inference_mode():
        images, _ = model.eval().transform([image])
        output = model([image])[0]
    model.roi_heads.score_thresh = before

    assert images.tensors.shape == (1, 3, 96, 128)
    assert images.image_sizes == [(96, 128)]
    assert set(output) == {"boxes", "labels", "scores"}
    boxes, labels, scores = output["boxes"], output["labels"], output["scores"]
    assert boxes.shape == (len(scores), 4)
    assert len(scores) > 0
    assert boxes.min() >= 0
    assert 64 < boxes[:, 2].max() <= 128
    assert 64 < boxes[:, 3].max() <= 96
    assert set(labels.tolist()) <= {1, 2, 3}
    assert (scores.diff() <= 0).all()


def test_targets_are_not_resized_either():
    model = build_model(ModelConfig("nano", NAMES, 64))
    target = {"boxes": torch.tensor([[8.0, 8, 40, 50]]), "labels": torch.tensor([1])}

    _, [moved] = model.train().transform([torch.rand(3, 64, 96)], [target])

    assert torch.equal(moved["boxes"], target["boxes"])


def test_light_models_are_small():
    nano, mobile = (
        sum(p.numel() for p in build_model(ModelConfig(arch, NAMES, 64)).parameters()) for arch in ("nano", "mobile")
    )

    assert nano < 2e6  # 8 MB as float32
    assert nano < mobile < 6e6


def test_options_of_the_config_override_those_of_the_architecture():
    model = build_model(ModelConfig("nano", NAMES, 64, {"box_detections_per_img": 7, "rpn_post_nms_top_n_test": 30}))

    assert model.roi_heads.detections_per_img == 7
    assert model.rpn.post_nms_top_n() in (30, 400)  # 400 while training
    assert model.eval().rpn.post_nms_top_n() == 30


def test_unknown_architecture_names_those_there_are():
    with pytest.raises(TrainError, match="unknown architecture 'giant': choose one of pico, nano, mobile, resnet50"):
        build_model(ModelConfig("giant", NAMES, 64))


@pytest.mark.parametrize("size", [-64, 0, 32, 100, 257])
def test_unsuitable_size_is_refused(size):
    with pytest.raises(TrainError, match=f"input size {size}: use a multiple of 32, 64 or more"):
        build_model(ModelConfig("nano", NAMES, size))
