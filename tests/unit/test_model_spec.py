"""A specification that cannot be built is refused with a sentence."""

from __future__ import annotations

import dataclasses

import pytest

from ptp_model.errors import SpecError
from ptp_model.spec import ModelSpec, preset


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"transform": "rnn"}, "transform is 'rnn'"),
        ({"context": "spiral"}, "context is 'spiral'"),
        ({"M": 49}, "do not sum to M = 49"),
        ({"Z": 31}, "expected Z = 31"),
    ],
)
def test_impossible_spec(change: dict[str, object], words: str) -> None:
    with pytest.raises(SpecError, match=words):
        dataclasses.replace(preset("tiny"), **change)


def test_unknown_names() -> None:
    with pytest.raises(SpecError, match="preset is 'huge'"):
        preset("huge")
    with pytest.raises(SpecError, match="teacher is 'vgg'"):
        preset("tiny", teacher="vgg")


def test_spec_from_foreign_json() -> None:
    good = preset("tiny").to_dict()
    with pytest.raises(SpecError, match="unknown fields in the spec: depth"):
        ModelSpec.from_dict(good | {"depth": 3})
    good.pop("M")
    with pytest.raises(SpecError, match="lacks or misnames a field"):
        ModelSpec.from_dict(good)
    with pytest.raises(SpecError, match="JSON object"):
        ModelSpec.from_dict([])  # type: ignore[arg-type]
