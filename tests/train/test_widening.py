import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_small

from train.models.widening import fits_within, widen_into


def layers(channels: int) -> nn.Sequential:
    """A stem, a depthwise and a pointwise convolution with norms, and a linear layer."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3),
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, groups=channels),
        nn.Conv2d(channels, 2 * channels, 1),
        nn.Flatten(),
        nn.Linear(2 * channels * 36, 5),
    )


def with_random_statistics(model: nn.Module) -> nn.Module:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return model.eval()


@pytest.fixture
def grown():
    """A narrow model, and a wider one that was given its weights."""
    torch.manual_seed(3)
    narrow, wide = with_random_statistics(layers(4)), layers(10).eval()
    widen_into(wide, narrow.state_dict())
    return narrow, wide


def test_a_wider_model_computes_the_same(grown):
    narrow, wide = grown
    images = torch.rand(2, 3, 10, 10)
    with torch.inference_mode():
        assert torch.allclose(wide(images), narrow(images), atol=1e-5)
        assert not torch.allclose(layers(10).eval()(images), narrow(images), atol=1e-2)


def test_every_weight_of_the_wider_model_learns(grown):
    _, wide = grown
    before = {name: value.clone() for name, value in wide.named_parameters()}
    optimizer = torch.optim.SGD(wide.train().parameters(), lr=0.1)
    torch.manual_seed(4)
    for _ in range(3):  # what feeds on nothing but zeros needs a step more
        optimizer.zero_grad()
        wide(torch.rand(4, 3, 10, 10)).square().sum().backward()
        optimizer.step()
    for name, value in wide.named_parameters():
        if not name.startswith(("0.bias", "3.bias")):  # a norm takes these away
            assert (value != before[name]).float().mean() > 0.95, name


def test_a_wider_mobilenet_computes_the_same_in_its_old_channels():
    torch.manual_seed(5)
    narrow = with_random_statistics(mobilenet_v3_small().features[:9])
    wide = mobilenet_v3_small(width_mult=2.0).features[:9].eval()
    widen_into(wide, narrow.state_dict())
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        expected, found = narrow(images), wide(images)
    assert found.shape[1] == 2 * expected.shape[1]
    assert torch.allclose(found[:, : expected.shape[1]], expected, atol=1e-4 * float(expected.abs().max()))


@pytest.mark.parametrize(
    ("small", "large", "fits"),
    [
        ((4, 3, 3, 3), (8, 3, 3, 3), True),
        ((4, 1, 3, 3), (4, 1, 5, 5), False),
        ((4, 6), (8, 5), False),
        ((4,), (8,), True),
        ((4,), (8, 4), False),
        ((), (), True),
    ],
    ids=["more outputs", "another kernel", "fewer inputs", "a bias", "another kind", "a counter"],
)
def test_what_fits(small, large, fits):
    assert fits_within(torch.zeros(small), torch.zeros(large)) is fits
