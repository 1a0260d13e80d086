"""A session on an integer entropy path: the same streams everywhere, and what a machine that is not exact runs into."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from ptp_runtime.backends import load_graphs
from ptp_runtime.bitstream import read_header
from ptp_runtime.bundle import Bundle
from ptp_runtime.coder import Parity
from ptp_runtime.entropy_path import means_witness
from ptp_runtime.errors import DesynchronisedError, InexactBackendError, ManifestError, WrongModelError
from ptp_runtime.manifest import GraphEntry
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle
from ptp_runtime.selftest.pocket_integer import Convolve, convolve_float32, convolve_float64
from ptp_runtime.session import Session
from ptp_runtime.tables import Tables

pytestmark = pytest.mark.runtime

Array = npt.NDArray[Any]
CONTEXTS = ("checkerboard", "zigzag", "whole")


def photo(height: int = 130, width: int = 150, seed: int = 0) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def shifted(layer: str, output: int = 0) -> Convolve:
    """One bias of one layer one larger: every value of one output moves, unless it is clipped."""

    def convolve(name: str, x: Array, weight: Array, bias: Array) -> Array:
        sums = convolve_float32(name, x, weight, bias)
        if name == layer:
            sums[output] += 1
        return sums

    return convolve


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """With the checkerboard."""
    return Bundle.open(write_pocket_bundle(tmp_path_factory.mktemp("integer") / "bundle", task="view", mode="integer"))


@pytest.fixture(scope="module")
def exact(bundle: Bundle) -> Session:
    """On an exact backend."""
    return Session.open(bundle, backend=PocketBackend())


def smuggled(bundle: Bundle, backend: PocketBackend) -> Session:
    """A session whose backend nobody tested."""
    tables = Tables.from_bytes(bundle.read(bundle.manifest.entropy.tables))
    return Session(bundle, load_graphs(bundle, backend, None), tables)


@pytest.mark.parametrize("context", CONTEXTS)
def test_what_one_exact_machine_writes_another_reads(tmp_path: Path, context: str) -> None:
    """Sums in float32 in one order, in float64 in another."""
    folder = write_pocket_bundle(tmp_path / "bundle", task="view", context=context, mode="integer")
    ours = Session.open(folder, backend=PocketBackend(convolve_float32))
    theirs = Session.open(folder, backend=PocketBackend(convolve_float64))

    encoded = ours.encode_detailed(photo())
    decoded = theirs.decode_detailed(encoded.data)

    assert theirs.encode(photo()) == encoded.data
    assert np.array_equal(decoded.latents.y_int, encoded.latents.y_int)
    for a, b in zip(encoded.latents.steps, decoded.latents.steps, strict=True):
        assert np.array_equal(a.symbols, b.symbols)
        assert np.array_equal(a.index, b.index)
        assert np.array_equal(a.mean, b.mean)


def test_a_step_reads_what_an_earlier_one_left(bundle: Bundle, exact: Session) -> None:
    """Else a context that is lost on the way would show on neither side."""

    class Deaf(PocketBackend):
        def load(self, bundle: Bundle, graph: GraphEntry) -> Any:
            loaded = super().load(bundle, graph)
            if graph.name == "step_01":
                run = loaded.run
                loaded.run = lambda inputs: run({**inputs, "context_01": 0 * inputs["context_01"]})  # type: ignore[method-assign]
            return loaded

    steps = exact.encode_detailed(photo()).latents.steps
    deaf = smuggled(bundle, Deaf()).encode_detailed(photo()).latents.steps

    assert np.array_equal(deaf[0].mean, steps[0].mean)
    assert not np.array_equal(deaf[1].mean, steps[1].mean)


def test_the_header_says_that_any_exact_machine_can_decode(bundle: Bundle, exact: Session) -> None:
    header = read_header(exact.encode(photo()))

    assert not header.float_entropy
    assert header.arithmetic == b""
    assert header.seals_means
    assert header.step_checks


def test_tensors_that_nothing_reads_any_more_are_dropped(exact: Session) -> None:
    """The parts of all steps are the largest tensors of the path."""
    lean = exact.encode_detailed(photo(), keep_steps=False)
    full = exact.encode_detailed(photo())

    assert set(lean.latents.hyper) == {"mu_hyper"}
    assert set(full.latents.hyper) == {"mu_hyper", "part_00", "part_01", "part_02", "part_03"}
    assert lean.data == full.data


@pytest.mark.parametrize(
    ("layer", "output", "step", "graph"),
    [
        ("hyper/part/0", 3, 1, "step_00"),
        ("hyper/part/2", 3, 3, "step_02"),
        ("step_01/0", 3, 2, "step_01"),
        ("step_02/index", 1, 3, "step_02"),
        ("step_00/mean", 0, 1, "step_00"),
        ("step_03/mean", 1, 4, "step_03"),
        ("step_00/context", 3, 2, "step_01"),
        ("step_02/context", 3, 4, "step_03"),
    ],
)
def test_an_inexact_backend_that_was_not_tested_is_caught_at_its_step(
    bundle: Bundle, exact: Session, layer: str, output: int, step: int, graph: str
) -> None:
    data = exact.encode(photo())
    with pytest.raises(InexactBackendError):
        Session.open(bundle, backend=PocketBackend(shifted(layer, output)))

    with pytest.raises(DesynchronisedError) as caught:
        smuggled(bundle, PocketBackend(shifted(layer, output))).decode(data)

    error = caught.value
    assert (error.step, error.graph) == (step, graph)
    assert f"in step {step}" in str(error)
    assert f"(graph '{graph}')" in str(error)


def test_the_error_names_the_path_the_backend_and_the_test(bundle: Bundle, exact: Session) -> None:
    backend = PocketBackend(shifted("step_00/mean"))

    with pytest.raises(DesynchronisedError) as caught:
        smuggled(bundle, backend).decode(exact.encode(photo()))

    assert f"the integer entropy path {bundle.manifest.entropy.identity[:8]}" in caught.value.hint
    assert backend.provider in caught.value.hint
    assert "no golden test was run" in caught.value.hint
    assert "ptp doctor" in caught.value.hint


def test_the_mean_of_the_last_step_is_sealed_though_no_symbol_moves(bundle: Bundle, exact: Session) -> None:
    """A picture 1/16 off, which no check of symbols and indices would notice."""
    data = exact.encode(photo())
    other = smuggled(bundle, PocketBackend(shifted("step_03/mean", 1)))
    last = len(bundle.manifest.entropy.schedule) - 1

    ours = exact.encode_detailed(photo()).latents.steps[last]
    theirs = other.encode_detailed(photo()).latents.steps[last]

    assert np.array_equal(ours.index, theirs.index)
    assert not np.array_equal(ours.mean, theirs.mean)
    with pytest.raises(DesynchronisedError, match="the check of the step"):
        other.decode(data)


def test_means_at_positions_that_are_not_coded_do_not_matter(bundle: Bundle, exact: Session) -> None:
    """A step of one parity computes the other's too; nobody reads them."""

    class Careless(PocketBackend):
        def load(self, bundle: Bundle, graph: GraphEntry) -> Any:
            loaded = super().load(bundle, graph)
            if graph.name == "step_00":
                run = loaded.run
                loaded.run = lambda inputs: scratched(run(inputs))  # type: ignore[method-assign]
            return loaded

    def scratched(found: dict[str, Array]) -> dict[str, Array]:
        mean = found["mean"].copy()
        mean[:, :, 1::2, ::2] = 77
        return {**found, "mean": mean}

    exact_output = exact.decode(exact.encode(photo()))
    assert np.array_equal(
        smuggled(bundle, Careless()).decode(exact.encode(photo())).image,  # type: ignore[union-attr]
        exact_output.image,  # type: ignore[union-attr]
    )


@pytest.mark.parametrize("layer", ["step_00/mean", "step_02/index", "hyper/part/1"])
def test_without_step_checks_the_end_still_tells(bundle: Bundle, layer: str) -> None:
    plain = Session.open(bundle, backend=PocketBackend(), step_checks=False)
    data = plain.encode(photo())

    assert not read_header(data).step_checks
    with pytest.raises(DesynchronisedError):
        smuggled(bundle, PocketBackend(shifted(layer, 1))).decode(data)


def test_step_checks_cost_a_byte_a_step(bundle: Bundle, exact: Session) -> None:
    plain = Session.open(bundle, backend=PocketBackend(), step_checks=False)

    more = len(exact.encode(photo())) - len(plain.encode(photo()))

    # The lane states change with the hash, which may take a byte more or less.
    assert more in range(len(bundle.manifest.entropy.schedule), len(bundle.manifest.entropy.schedule) + 3)


def test_streams_without_step_checks_are_read_by_a_session_with_them(bundle: Bundle, exact: Session) -> None:
    plain = Session.open(bundle, backend=PocketBackend(), step_checks=False)

    exact.decode(plain.encode(photo()))
    plain.decode(exact.encode(photo()))


def test_a_stream_of_the_float_path_is_not_one_of_the_integer_path(tmp_path: Path, exact: Session) -> None:
    other = Session.open(write_pocket_bundle(tmp_path / "bundle", task="view"), backend=PocketBackend())

    assert other.manifest.entropy.identity != exact.manifest.entropy.identity
    for ours, theirs in ((exact, other), (other, exact)):
        with pytest.raises(WrongModelError, match="belongs to another model"):
            ours.decode(theirs.encode(photo()))


def test_a_float_path_does_not_become_an_integer_path_by_its_manifest(tmp_path: Path) -> None:
    manifest = Bundle.open(write_pocket_bundle(tmp_path / "bundle")).manifest

    with pytest.raises(ManifestError):
        dataclasses.replace(manifest, entropy=dataclasses.replace(manifest.entropy, mode="integer"))


@pytest.mark.parametrize("task", ["seg", "det", "cls", "view"])
def test_every_task_runs_on_an_integer_path(tmp_path: Path, task: str, open_pocket: Callable[..., Session]) -> None:
    with open_pocket(tmp_path / task, task=task, rates=3) as session:
        for rate in range(3):
            session.infer(photo(), rate=rate)


@pytest.fixture
def open_pocket() -> Callable[..., Session]:
    """Opens a new integer bundle."""

    def call(folder: Path, **options: Any) -> Session:
        return Session.open(write_pocket_bundle(folder, mode="integer", **options), backend=PocketBackend())

    return call


@pytest.mark.parametrize("context", CONTEXTS)
def test_the_witness_of_the_means_is_the_pages(tmp_path: Path, context: str) -> None:
    """CRC-32 of the means at the step's positions, i16, C order; one by one, as the page says it."""
    folder = write_pocket_bundle(tmp_path / "bundle", task="view", context=context, mode="integer")
    session = Session.open(folder, backend=PocketBackend())
    encoded = session.encode_detailed(photo(200, 130))

    for place, step in zip(session._path.places(16, 12), encoded.latents.steps, strict=True):
        channels, rows, columns = step.mean.shape
        coded = {Parity.ALL: (0, 1), Parity.EVEN: (0,), Parity.ODD: (1,)}[place.parity]
        data = b"".join(
            int(step.mean[c, r, k]).to_bytes(2, "little", signed=True)
            for c in range(channels)
            for r in range(rows)
            for k in range(columns)
            if (r + k) % 2 in coded
        )
        assert means_witness(step.mean, place) == zlib.crc32(data)
