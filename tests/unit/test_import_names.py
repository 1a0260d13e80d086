"""What others call our parts: every rule of the table, and renames that lose nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ptp_model.importing.names import WRAPPERS, Place, Prefixes, cut, is_constant, spelt, unwrapped, why_passed_over
from ptp_model.layers.attention import WindowAttention, relative_position_index
from ptp_model.spec import AttentionSpec

CODEC = Place()
SEG = Place("seg")
DET_HEAD = Place("det", "head")


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("g_a.0.weight", "g_a.0.weight"),
        ("module.g_a.0.weight", "g_a.0.weight"),
        ("_orig_mod.module.g_s.1.bias", "g_s.1.bias"),
        ("model.codec.h_a.2.bias", "h_a.2.bias"),
        ("h_mean_s.2.0.weight", "h_mu.2.0.weight"),
        ("h_scale_s.8.bias", "h_sigma.8.bias"),
        ("h_s_mean.0.bias", "h_mu.0.bias"),
        ("h_s.scale.0.bias", "h_sigma.0.bias"),
        ("entropy_bottleneck._matrix4", "entropy_bottleneck.matrices.4"),
        ("entropy_bottleneck._matrices.0", "entropy_bottleneck.matrices.0"),
        ("entropy_bottleneck.matrices.0", "entropy_bottleneck.matrices.0"),
        ("entropy_bottleneck._bias0", "entropy_bottleneck.biases.0"),
        ("entropy_bottleneck._factors.3", "entropy_bottleneck.factors.3"),
        ("g_a.8.conv_a.1.conv.4.weight", "g_a.8.trunk.1.body.4.weight"),
        ("g_s.0.conv_b.0.attn.proj.bias", "g_s.0.attention.projection.bias"),
        ("g_s.0.conv_b.0.attn.relative_position_bias_table", "g_s.0.attention.bias"),
        ("g_s.0.conv_b.2.conv.0.bias", "g_s.0.gate.1.body.0.bias"),
        ("g_s.0.conv_b.4.weight", "g_s.0.gate.3.weight"),
        ("prompts.seg.p_ga.0.weight", "prompts.seg.p_ga.0.weight"),
        ("module.prompts.det.p_h_scale_s.0.bias", "prompts.det.p_hsigma.0.bias"),
        ("heads.seg.deeplab.0.weight", "head.seg.deeplab.0.weight"),
        ("teachers.det.network.backbone.body.conv1.weight", "head.det.backbone.body.conv1.weight"),
        ("h_s.0.weight", "h_s.0.weight"),
        ("p_ga.0.weight", "p_ga.0.weight"),
    ],
)
def test_names_of_a_whole_model(theirs: str, ours: str) -> None:
    assert spelt(theirs, CODEC) == ours


@pytest.mark.parametrize(
    ("place", "theirs", "ours"),
    [
        (SEG, "p_g_a.0.weight", "prompts.seg.p_ga.0.weight"),
        (SEG, "prompts.p_gs.0.weight", "prompts.seg.p_gs.0.weight"),
        (SEG, "g_a.0.weight", "g_a.0.weight"),
        (SEG, "backbone.layer1.0.conv1.weight", "head.seg.backbone.layer1.0.conv1.weight"),
        (SEG, "classifier.4.bias", "head.seg.classifier.4.bias"),
        (Place("cls", "prompts"), "module.p_hmu.0.bias", "prompts.cls.p_hmu.0.bias"),
        (Place("seg", "prompts"), "head.deeplab.4.bias", "head.seg.deeplab.4.bias"),
        (Place("seg", "prompts"), "surplus", "prompts.seg.surplus"),
        (Place("seg", "head"), "module.classifier.4.bias", "head.seg.classifier.4.bias"),
        (DET_HEAD, "head.classification_head.conv.0.0.bias", "head.det.head.classification_head.conv.0.0.bias"),
        (DET_HEAD, "head.head.regression_head.conv.6.bias", "head.det.head.regression_head.conv.3.0.bias"),
        (DET_HEAD, "head.fpn.inner_blocks.0.0.bias", "head.det.fpn.inner_blocks.0.0.bias"),
        (DET_HEAD, "backbone.fpn.layer_blocks.2.bias", "head.det.backbone.fpn.layer_blocks.2.0.bias"),
        (DET_HEAD, "prompts.p_ga.0.bias", "prompts.det.p_ga.0.bias"),
    ],
)
def test_names_of_a_task(place: Place, theirs: str, ours: str) -> None:
    assert spelt(theirs, place) == ours


@pytest.mark.parametrize(
    "name",
    [
        "entropy_bottleneck._quantized_cdf",
        "entropy_bottleneck._cdf_length",
        "entropy_bottleneck._offset",
        "gaussian_conditional.scale_table",
        "g_a.8.conv_b.0.attn.relative_position_index",
        "head.seg.aux_classifier.0.weight",
        "head.seg.backbone.bn1.num_batches_tracked",
    ],
)
def test_what_is_not_needed_is_known_by_name(name: str) -> None:
    assert why_passed_over(name)


def test_constants_are_not_weights() -> None:
    assert is_constant("g_a.1.beta_reparam.lower_bound.bound")
    assert is_constant("entropy_bottleneck.quantiles")
    assert not is_constant("g_a.1.beta")
    assert not is_constant("entropy_bottleneck.matrices.0")


def test_the_longest_of_the_user_s_prefixes_wins_and_ends_at_a_dot() -> None:
    prefixes = Prefixes({"encoder": "g_a", "encoder.last": "g_a.8", "decoder.inner": ""})
    assert spelt("module.encoder.0.weight", CODEC, prefixes) == "g_a.0.weight"
    assert spelt("encoder.last.gate.3.bias", CODEC, prefixes) == "g_a.8.gate.3.bias"
    assert spelt("encoders.0.weight", CODEC, prefixes) == "encoders.0.weight"
    assert spelt("decoder.inner.g_s.1.bias", CODEC, prefixes) == "g_s.1.bias"


_COMPONENT = st.text("abcdefgh_0123456789", min_size=1, max_size=6)
_NAME = st.lists(_COMPONENT, min_size=1, max_size=5).map(".".join)


@given(st.lists(st.sampled_from(WRAPPERS), max_size=4), _NAME)
def test_wrappers_change_nothing(wrappers: list[str], name: str) -> None:
    assert unwrapped("".join(wrappers) + name) == unwrapped(name)


@given(st.sets(_NAME, min_size=1), _NAME, _NAME)
def test_renaming_a_prefix_there_and_back_is_the_identity(names: set[str], old: str, new: str) -> None:
    """Two names never fall together, and nothing that does not begin with the prefix changes."""
    there, back = Prefixes({old: f"{new}.{old}"}), Prefixes({f"{new}.{old}": old})
    untouched = {name for name in names if name != f"{new}.{old}" and not name.startswith(f"{new}.{old}.")}
    for name in untouched:
        moved, used = there.applied(name)
        assert (used == old) == (name == old or name.startswith(f"{old}."))
        assert back.applied(moved)[0] == name
    assert len({there.applied(name)[0] for name in untouched}) == len(untouched)


def _published_attention(x: Tensor, qkv: tuple[Tensor, Tensor], proj: tuple[Tensor, Tensor], table: Tensor) -> Tensor:
    """One window, [N, C], as Swin's authors compute it."""
    heads, (area, channels) = table.shape[1], x.shape
    q, k, v = torch.nn.functional.linear(x, *qkv).reshape(area, 3, heads, channels // heads).permute(1, 2, 0, 3)
    index = relative_position_index(4).flatten()
    bias = table[index].reshape(area, area, heads).permute(2, 0, 1)
    scores = (q * (channels // heads) ** -0.5) @ k.transpose(-1, -2) + bias
    return torch.nn.functional.linear((scores.softmax(-1) @ v).transpose(0, 1).reshape(area, channels), *proj)


def test_a_cut_qkv_means_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "qkv.weight": (24, 8),
        "qkv.bias": (24,),
        "proj.weight": (8, 8),
        "proj.bias": (8,),
        "relative_position_bias_table": (49, 2),
    }
    theirs = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    ours: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        ours |= cut(spelt(f"g_a.4.conv_b.0.attn.{name}", CODEC), tensor)
    attention = WindowAttention(8, AttentionSpec(heads=2, window=4, shift=0))
    prefix = "g_a.4.attention."
    attention.load_state_dict({name.removeprefix(prefix): tensor for name, tensor in ours.items()})

    x = torch.randn(1, 8, 4, 4, generator=generator)
    qkv, proj = [(theirs[f"{part}.weight"], theirs[f"{part}.bias"]) for part in ("qkv", "proj")]
    expected = _published_attention(x[0].flatten(1).T, qkv, proj, theirs["relative_position_bias_table"])
    got = attention(x)[0].flatten(1).T
    torch.testing.assert_close(got, expected)
