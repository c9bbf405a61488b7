"""Frozen backbones: published sizes, the same function after norms are merged, and what ImageNet's weights know."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from braincli.errors import ModelError
from braincli.networks.efficientnet import EfficientNetLite0, SameConv
from braincli.networks.feature_autoencoder import FeatureAutoencoder
from braincli.networks.features import BACKBONES, Features, Standardise
from braincli.networks.resnet import OneClassBottleneck, Student, resnet18, wide_resnet50_2


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_sizes() -> None:
    with torch.device("meta"):
        assert count(resnet18()) == 11_689_512
        assert count(wide_resnet50_2()) == 68_883_240
        assert count(EfficientNetLite0()) == 4_652_008
        assert count(FeatureAutoencoder(256, (100, 150, 200, 300))) == 10_285_048
        scales = (256, 512, 1024)
        assert count(OneClassBottleneck(scales, 2048, widen=2)) == 58_885_120
        assert count(Student(2048, scales, widen=2)) == 24_917_504


def test_parameters_are_named_as_torchvision_names_them() -> None:
    with torch.device("meta"):
        names = wide_resnet50_2().state_dict()
    assert len(names) == 320
    assert names["layer4.2.conv3.weight"].shape == (2048, 1024, 1, 1)
    assert {"bn1.running_mean", "layer1.0.downsample.1.num_batches_tracked", "fc.bias"} <= set(names)


@pytest.mark.parametrize("name", ["random", "efficientnet_lite0"])
def test_merged_norms_change_nothing(name: str) -> None:
    torch.manual_seed(0)
    network = BACKBONES[name].build().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
    features = Features(name, (0, 1, 2))
    assert bool(features.loaded) is not BACKBONES[name].pretrained
    features.load({key.replace("blocks", "_blocks"): value for key, value in network.state_dict().items()})
    assert features.loaded
    image = torch.rand(3, 1, 32, 48)
    x = (image - features.mean) / features.deviation
    for stage, level, channels in zip(network.stages(), features(image), features.channels, strict=False):
        x = stage(x)
        torch.testing.assert_close(level, x, rtol=1e-3, atol=1e-4)
        assert level.shape[1] == channels
    assert not any(isinstance(module, nn.BatchNorm2d) for module in features.modules())


def test_backbone_is_frozen() -> None:
    features = Features("random", (0, 1, 2)).train()
    assert not any(module.training for module in features.modules())
    assert not any(p.requires_grad for p in features.parameters())
    assert features.loaded, "random on purpose"
    with pytest.raises(RuntimeError, match="Missing key"):
        features.load({})


def test_padding_puts_the_odd_pixel_last() -> None:
    conv = SameConv(1, 1, 3, stride=2, bias=False)
    nn.init.ones_(conv.weight)
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 0, 0] = 1
    assert conv(image)[0, 0].tolist() == [[1, 0], [0, 0]]
    image = torch.zeros(1, 1, 4, 4)
    image[0, 0, 2, 2] = 1
    assert conv(image)[0, 0].tolist() == [[1, 1], [1, 1]]


def test_autoencoder_and_mirror_keep_sizes() -> None:
    torch.manual_seed(0)
    assert FeatureAutoencoder(6, (4, 5), kernel=3)(torch.rand(2, 6, 11, 8)).shape == (2, 6, 11, 8)
    scales = [torch.rand(2, c, 16 // f, 24 // f) for c, f in ((8, 1), (16, 2), (32, 4))]
    code = OneClassBottleneck((8, 16, 32), 64, count=1)(scales)
    assert code.shape == (2, 64, 2, 3)
    assert [f.shape for f in Student(64, (8, 16, 32), layers=(1, 1, 1))(code)] == [f.shape for f in scales]


def test_standardise_learns_from_the_given_part_only() -> None:
    scale = Standardise(2)
    x = torch.cat([torch.full((1, 2, 4, 4), 100.0), 5 + 3 * torch.randn(1, 2, 4, 4)], dim=3)
    weight = torch.zeros(1, 1, 4, 8)
    weight[..., 4:] = 1
    standardised = scale(x, weight)[..., 4:]
    torch.testing.assert_close(standardised.mean(dim=(0, 2, 3)), torch.zeros(2), atol=1e-4, rtol=0)
    torch.testing.assert_close(standardised.std(dim=(0, 2, 3), correction=0), torch.ones(2), atol=1e-4, rtol=0)
    before = scale.mean.clone()
    scale(x + 50)
    scale(x + 50, torch.zeros(1, 1, 4, 8))
    assert torch.equal(scale.mean, before)


def test_imagenet_weights_know_a_cat_and_an_espresso() -> None:
    """Photographs that scikit-image ships: the network is defined as the weights were trained."""
    from skimage import data

    from braincli.weights import pretrained

    try:
        state = pretrained.load("efficientnet_lite0")
    except ModelError:
        pytest.skip("the extra imagenet is not installed")
    network = EfficientNetLite0().eval()
    network.load_state_dict({key.replace("._", ".").removeprefix("_"): value for key, value in state.items()})
    for picture, classes in ((data.chelsea(), {281, 282, 285}), (data.coffee(), {967})):
        side = min(picture.shape[:2])
        top, left = ((length - side) // 2 for length in picture.shape[:2])
        square = torch.from_numpy(picture[top : top + side, left : left + side].copy()).permute(2, 0, 1)[None].float()
        small = nn.functional.interpolate(square, (224, 224), mode="bilinear", antialias=True)
        with torch.inference_mode():
            likely = network((small - 127) / 128).softmax(dim=1)[0]
        assert sum(float(likely[index]) for index in classes) > 0.6
