"""Prompts as bytes: a piece of an ONNX model that the runtime reads without onnx and distrusts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ptp_runtime.errors import BundleError
from ptp_runtime.prompt_file import prompt_from_bytes, prompt_to_bytes

pytestmark = pytest.mark.runtime

TENSORS = {"p.weight": np.arange(6, dtype=np.float32).reshape(1, 2, 3), "p.bias": np.array([1.5], np.float32)}
#: graph { initializer { dims: 1 data_type: FLOAT name: "b" raw_data: 1.0 } }
BYTES = bytes.fromhex("3a0f 2a0d 0801 1001 420162 4a04 0000803f".replace(" ", ""))


def test_the_bytes_are_those_of_the_page() -> None:
    assert prompt_to_bytes({"b": np.ones(1, np.float32)}) == BYTES
    assert prompt_from_bytes(BYTES, "prompts/x.bin") == {"b": np.ones(1, np.float32)}


@given(
    st.dictionaries(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12),
        arrays.arrays(
            np.float32,
            arrays.array_shapes(min_dims=1, max_dims=4, max_side=4),
            elements=st.floats(-1e6, 1e6, width=32),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_every_prompt_comes_back(tensors: dict[str, np.ndarray]) -> None:  # type: ignore[type-arg]
    found = prompt_from_bytes(prompt_to_bytes(tensors), "x")
    assert list(found) == list(tensors)
    for name, values in tensors.items():
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], values)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no piece of a graph"),
        (b"\x3a\x00", "no tensor"),
        (b"\x3a\x05", "too early"),
        (BYTES + BYTES, "several"),
        (b"\x38\x01", "no piece"),
        (BYTES[:-1], "too early"),
        (BYTES.replace(b"\x10\x01", b"\x10\x07"), "another type"),
        (BYTES.replace(b"\x08\x01", b"\x08\x02"), "4 bytes for 2"),
        (BYTES.replace(b"\x08\x01", b"\x08\x00"), "4 bytes for 0"),
        (BYTES.replace(b"b", b"\xff"), "utf-8"),
        (BYTES.replace(b"\x00\x00\x80\x3f", b"\x00\x00\x80\x7f"), "not finite"),
        (b"\x3a\x1e" + BYTES[2:] + BYTES[2:], "twice"),
        (b"\x3b\x00", "kind 3"),
        (b"\x3a\x0c\x2a\x0b" + b"\x08\x01" * 5, "too early"),
        (b"\x3a\x14\x2a\x12" + b"\x08\x01" * 9, "field 1"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "too long"),
    ],
)
def test_what_is_no_prompt_is_refused(data: bytes, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        prompt_from_bytes(data, "prompts/x.bin")


@given(st.data())
def test_any_damage_is_a_typed_error_or_other_numbers(data: st.DataObject) -> None:
    whole = bytearray(prompt_to_bytes(TENSORS))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = prompt_from_bytes(bytes(whole), "x")
    except BundleError:
        return
    assert sum(values.nbytes for values in found.values()) <= len(whole)
