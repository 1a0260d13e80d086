"""Parameter counts, within 1 % of those the architecture was specified with (millions)."""

from __future__ import annotations

import pytest
from torch import nn

from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import PRESETS, TRANSFORMS, ModelSpec, preset

#: (preset, transform, context) → module → expected count in millions.
EXPECTED = {
    ("full", "cnn", "checkerboard"): {
        "g_a": 8.34,
        "h_a": 4.40,
        "h_mu": 9.75,
        "h_sigma": 9.75,
        "g_s": 8.41,
        "image_extractor": 2.06,
        "context": 20.55,
        "lrcp": 1.091,
    },
    ("full", "swin", "checkerboard"): {"g_a": 6.90, "g_s": 7.04},
    # Stem: 928 + 896 + 5,136 + 8,832 by EfficientNet-Lite0's first three blocks. g_a: 38,464 + 4,160 + 204,928 for two
    # convolutions and a GDN, 403,780 for the attention module.
    ("small", "stem", "checkerboard"): {"stem": 0.015792, "g_a": 0.778116},
    ("tiny", "cnn", "checkerboard"): {
        "g_a": 0.179,
        "h_a": 0.053,
        "h_mu": 0.160,
        "h_sigma": 0.160,
        "g_s": 0.131,
        "image_extractor": 0.043,
        "context": 0.240,
        "lrcp": 0.0286,
    },
}
PROMPTS = {"full": {"p_ga": 1.39, "p_ha": 0.664, "p_hmu": 1.16, "p_hsigma": 1.16, "p_gs": 1.01}}


def millions(module: nn.Module) -> float:
    return sum(p.numel() for p in module.parameters()) / 1e6


@pytest.mark.parametrize("key", EXPECTED, ids="-".join)
def test_codec_counts(key: tuple[str, str, str]) -> None:
    name, transform, context = key
    codec = FeatureCodec(preset(name, transform=transform, context=context))
    got = {part: millions(codec.get_submodule(part)) for part in EXPECTED[key]}
    assert got == pytest.approx(EXPECTED[key], rel=0.01)


def test_zigzag_counts() -> None:
    context = FeatureCodec(preset("full", context="zigzag")).context
    assert millions(context.mean) == pytest.approx(117.5, rel=0.01)
    assert millions(context.scale) == pytest.approx(117.5, rel=0.01)


def test_prompt_counts() -> None:
    prompts = TaskPrompts(preset("full"))
    got = {part: millions(prompts.get_submodule(part)) for part in PROMPTS["full"]}
    assert got == pytest.approx(PROMPTS["full"], rel=0.01)
    assert millions(TaskPrompts(preset("tiny"))) == pytest.approx(0.133, rel=0.01)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_spec_survives_json(name: str, transform: str) -> None:
    import json

    spec = preset(name, transform=transform)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
