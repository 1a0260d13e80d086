"""What the decoder sees is what the encoder coded, symbol for symbol, at any size and with every kind of schedule."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ptp_runtime.latents import Latents
from ptp_runtime.manifest import TensorInfo
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.session import Session
from ptp_runtime.tasks import View

pytestmark = pytest.mark.runtime

CONTEXTS = ("checkerboard", "zigzag", "whole", "checkerboard integer", "zigzag integer")
"""Schedule and kind of the entropy path, float unless it is said."""


@pytest.fixture(scope="module")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Session]:
    """One session for each context model; the task is the cheapest."""
    folder = tmp_path_factory.mktemp("sessions")
    opened = {}
    for name in CONTEXTS:
        context, _, mode = name.partition(" ")
        bundle = write_pocket_bundle(folder / name, task="view", context=context, mode=mode or "float")
        opened[name] = Session.open(bundle, backend=PocketBackend())
    return opened


@cache
def _photo(height: int, width: int, kind: str, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if kind == "flat":
        return np.full((height, width, 3), seed % 256, np.uint8)
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 3 % 256, y * 2 % 256, (x * y) % 256], axis=2).astype(np.uint8)


def _assert_equal(ours: Latents, theirs: Latents) -> None:
    assert np.array_equal(ours.z, theirs.z)
    assert len(ours.steps) == len(theirs.steps)
    for number, (a, b) in enumerate(zip(ours.steps, theirs.steps, strict=True)):
        assert np.array_equal(a.index, b.index), f"indices of step {number}"
        assert np.array_equal(a.mean, b.mean), f"means of step {number}"
        assert np.array_equal(a.symbols, b.symbols), f"symbols of step {number}"
    assert np.array_equal(ours.y_int, theirs.y_int)


@pytest.mark.parametrize("context", CONTEXTS)
@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 130),
    width=st.integers(1, 130),
    kind=st.sampled_from(["noise", "flat", "slopes"]),
    seed=st.integers(0, 1000),
)
def test_symbols_decoded_are_symbols_encoded(
    sessions: dict[str, Session], context: str, height: int, width: int, kind: str, seed: int
) -> None:
    session = sessions[context]

    encoded = session.encode_detailed(_photo(height, width, kind, seed))
    decoded = session.decode_detailed(encoded.data)

    _assert_equal(encoded.latents, decoded.latents)
    assert isinstance(decoded.output, View)
    assert decoded.output.image.shape == (height, width, 3)


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("size", [(1, 1), (1, 130), (130, 1), (63, 64), (64, 65), (128, 128), (300, 520)])
def test_symbols_at_the_corners_of_the_size_range(
    sessions: dict[str, Session], context: str, size: tuple[int, int]
) -> None:
    encoded = sessions[context].encode_detailed(_photo(*size, "noise", 5))

    _assert_equal(encoded.latents, sessions[context].decode_detailed(encoded.data).latents)


@pytest.mark.parametrize("context", CONTEXTS)
def test_every_position_is_coded_once(sessions: dict[str, Session], context: str) -> None:
    """The steps' boxes and parities cover the latent without a gap or an overlap."""
    path = sessions[context]._path
    count = np.zeros((8, 12, 20), int)

    for place in path.places(12, 20):
        box = count[place.box]
        box += place.coded(box)

    assert (count == 1).all()


def _contexts(session: Session) -> list[TensorInfo]:
    """What the last step reads of earlier steps, y_int apart."""
    last = session.manifest.graph(session.manifest.entropy.schedule[-1].graph)
    hyper = {tensor.name for tensor in session.manifest.graph("hyper").outputs}
    return [tensor for tensor in last.inputs if tensor.name not in hyper | {"y_int"}]


@pytest.mark.parametrize("context", CONTEXTS)
def test_later_steps_depend_on_earlier_symbols(sessions: dict[str, Session], context: str) -> None:
    """Else a decoder that fed its contexts wrongly would pass every test above."""
    session = sessions[context]
    encoded = session.encode_detailed(_photo(130, 130, "noise", 1))
    places = session._path.places(*encoded.latents.y_int.shape[2:])

    blind = np.zeros_like(encoded.latents.y_int)
    last = len(places) - 1
    # The context of an earlier step is blind as well.
    contexts = {tensor.name: np.zeros((1, 6, *blind.shape[2:]), np.float32) for tensor in _contexts(session)}
    outputs = session._path.step(last, places[last], {**encoded.latents.hyper, **contexts}, blind)

    assert not np.array_equal(outputs.mean, encoded.latents.steps[last].mean)
    assert not np.array_equal(outputs.index, encoded.latents.steps[last].index)
