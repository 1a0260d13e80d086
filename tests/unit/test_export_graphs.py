"""What is replaced for the export computes the same as what it replaces."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from ptp_export.graphs.aspp import ASPP, FoldedASPP, fold_aspp
from ptp_export.graphs.fpn import FeaturePyramidNetwork, RepeatingPyramid, fold_pyramids
from ptp_export.graphs.gdn import GDN, FoldedGDN, fold_gdn
from ptp_export.graphs.graphs_from_model import graphs_from_model
from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import preset
from ptp_model.teachers import build


@pytest.mark.parametrize("inverse", [False, True])
def test_folded_gdn_is_gdn(inverse: bool) -> None:
    torch.manual_seed(1)
    layer = GDN(6, inverse=inverse)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.rand_like(parameter))
    x = 20 * torch.randn(2, 6, 5, 7)
    with torch.no_grad():
        torch.testing.assert_close(FoldedGDN(layer)(x), layer(x))


def test_fold_gdn_replaces_nested_layers_only_once() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), GDN(4), nn.Sequential(GDN(4), nn.ReLU()))
    assert fold_gdn(module) == 2
    assert not any(isinstance(child, GDN) for child in module.modules())
    assert fold_gdn(module) == 0


@pytest.mark.parametrize("shape", [(9, 13), (8, 8), (1, 1), (1, 5)])
def test_folded_aspp_is_aspp(shape: tuple[int, int]) -> None:
    torch.manual_seed(2)
    layer = ASPP(8, (2, 4, 6), 5).eval()
    _settle_batch_norms(layer)
    x = torch.randn(1, 8, *shape)
    with torch.no_grad():
        torch.testing.assert_close(FoldedASPP(layer)(x), layer(x))


@pytest.mark.parametrize("side", [(35, 50), (32, 64), (1, 1), (3, 2), (9, 17)])
def test_repeating_pyramid_is_the_feature_pyramid(side: tuple[int, int]) -> None:
    torch.manual_seed(3)
    layer = FeaturePyramidNetwork([4, 5, 6], 7).eval()
    levels: dict[str, torch.Tensor] = {}
    height, width = side
    for name, channels in (("a", 4), ("b", 5), ("c", 6)):
        levels[name] = torch.randn(1, channels, height, width)
        height, width = -(-height // 2), -(-width // 2)
    with torch.no_grad():
        expected, got = layer(dict(levels)), RepeatingPyramid(layer)(dict(levels))
    assert list(expected) == list(got)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name])


@pytest.mark.parametrize("task", ["seg", "det"])
def test_the_shipped_heads_hold_what_is_replaced(task: str) -> None:
    torch.manual_seed(4)
    teacher = build("efficientnet-lite0", task)
    plain = copy.deepcopy(teacher)
    replaced = fold_aspp(plain) + fold_pyramids(plain)
    assert replaced == 1
    h = torch.randn(1, teacher.spec.feature_channels, 19, 27)
    with torch.no_grad():
        torch.testing.assert_close(plain.tail(h), teacher.tail(h), rtol=1e-4, atol=1e-4)


def test_graphs_leave_the_model_as_it_was() -> None:
    spec = preset("tiny")
    codec, prompts = FeatureCodec(spec).eval(), TaskPrompts(spec)
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    graphs = graphs_from_model(codec, "view", prompts, None)
    with torch.no_grad():
        for graph in graphs:
            for parameter in graph.module.parameters():
                parameter.add_(1)
    assert any(isinstance(module, GDN) for module in codec.modules())
    assert all(torch.equal(value, before[name]) for name, value in codec.state_dict().items())


def test_the_entropy_path_is_cut_from_everything_else() -> None:
    spec = preset("tiny")
    graphs = graphs_from_model(FeatureCodec(spec), "view", TaskPrompts(spec), None)
    names = [graph.name for graph in graphs]
    assert names == ["analysis", "hyper", *(f"step_{k:02d}" for k in range(6)), "synthesis", "head"]
    assert [graph.role for graph in graphs] == ["analysis", *["entropy"] * 7, "synthesis", "head"]
    prompts = {graph.name: graph.prompts for graph in graphs if graph.prompts}
    assert prompts == {
        "analysis": ("prompts.p_ga", "prompts.p_ha"),
        "hyper": ("prompts.p_hmu", "prompts.p_hsigma"),
        "synthesis": ("prompts.p_gs",),
    }


def _settle_batch_norms(module: nn.Module) -> None:
    """Statistics as after training, so that batch normalisation does something."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.running_var is not None
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2.0)
