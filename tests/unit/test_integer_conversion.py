"""The conversion: what its files look like, what it costs, and what it does where a layer does not fit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ptp_calibration.cpu_session import CpuSession
from ptp_calibration.integer_path import (
    ConversionError,
    EntropyNetwork,
    IntegerOracle,
    IntegerPath,
    IntegerPrecision,
    LatentSample,
    Layer,
    Source,
    convert,
)
from ptp_calibration.integer_path.conversion import noise
from ptp_calibration.integer_path.conversion.coding_loop import coded_bits
from ptp_calibration.integer_path.conversion.layer_from_float import Readings, converted
from ptp_calibration.integer_path.conversion.observe import observe
from ptp_calibration.integer_path.conversion.scales import fed_in_limit, plan
from ptp_calibration.integer_path.conversion.terms import terms_on_grid
from ptp_calibration.integer_path.integer_network import Unit
from ptp_calibration.integer_path.pocket_network import pocket_network, pocket_samples
from ptp_calibration.integer_path.tensors import Piece, convolved, shuffled

OPERATORS = {"Conv", "Add", "Mul", "Floor", "Clip", "Concat", "DepthToSpace", "Split", "Slice", "Cast"}


@pytest.fixture(scope="module", params=["checkerboard", "zigzag"])
def network(request: pytest.FixtureRequest) -> EntropyNetwork:
    return pocket_network(request.param, seed=2, width=8)


@pytest.fixture(scope="module")
def samples(network: EntropyNetwork) -> list[LatentSample]:
    return pocket_samples(network, seed=3)


@pytest.fixture(scope="module")
def path(network: EntropyNetwork, samples: list[LatentSample]) -> IntegerPath:
    return convert(network, samples)


def _interface(model: onnx.ModelProto) -> tuple[list[str], list[str]]:
    return [value.name for value in model.graph.input], [value.name for value in model.graph.output]


def test_one_graph_for_hyper_and_one_a_step(network: EntropyNetwork, path: IntegerPath) -> None:
    assert list(path.graphs) == ["hyper", *(step.name for step in network.steps)]
    assert {node.op_type for model in path.graphs.values() for node in model.graph.node} <= OPERATORS
    for model in path.graphs.values():
        onnx.checker.check_model(model, full_check=True)
        assert [opset.version for opset in model.opset_import] == [20]
        assert len({node.name for node in model.graph.node}) == len(model.graph.node)


def test_the_graphs_hand_over_what_the_interface_says(network: EntropyNetwork, path: IntegerPath) -> None:
    parts = [f"part_{k:02d}" for k in range(len(network.steps))]
    assert _interface(path.graphs["hyper"]) == (["z_hat"], ["mu_hyper", *parts])
    assert _interface(path.graphs["step_00"]) == (["part_00"], ["index", "mean"])
    assert _interface(path.graphs["step_01"]) == (["part_01", "y_int"], ["index", "mean"])
    if network.steps[0].region == "anchor":
        carried = "step_02/channel_context/1"
        assert _interface(path.graphs["step_02"])[1] == ["index", "mean", carried]
        assert _interface(path.graphs["step_03"])[0] == ["part_03", "y_int", carried]


def test_layers_are_named_as_in_the_network(network: EntropyNetwork, path: IntegerPath) -> None:
    oracle = IntegerOracle(path.graphs)
    zeros = {"z_hat": np.zeros((1, 4, 2, 2), np.int64), "y_int": np.zeros((1, 5, 8, 8), np.int64)}
    for name in oracle.graphs:
        layers = network.hyper if name == "hyper" else next(s for s in network.steps if s.name == name).layers
        names = [f"hyper/{x.name}" if x.name in ("mu_hyper", "scale_hyper") else x.name for x in layers]
        assert list(oracle.layers(name, zeros)) == names
        nodes = {node.name: node for node in path.graphs[name].graph.node}
        for layer in names:
            assert layer not in nodes or nodes[layer].op_type == "Conv"
            assert any(layer in node.output for node in nodes.values())
        zeros.update(oracle.run(name, zeros))


def test_conversion_twice_gives_equal_files(
    network: EntropyNetwork, samples: list[LatentSample], path: IntegerPath
) -> None:
    again = convert(network, samples)
    for name, model in path.graphs.items():
        assert again.graphs[name].SerializeToString(deterministic=True) == model.SerializeToString(deterministic=True)


def test_the_report_counts_real_bits(network: EntropyNetwork, samples: list[LatentSample], path: IntegerPath) -> None:
    report = path.report
    assert report.float_bits == observe(network, samples).bits
    assert report.integer_bits == coded_bits(network, path.graphs, samples, threads=1)
    assert report.symbols == tuple(sample.y.size for sample in samples)
    assert report.cost == pytest.approx(sum(report.integer_bits) / sum(report.float_bits) - 1)
    assert abs(report.cost) < 0.06, "random networks on a handful of positions"
    assert max(report.clipped.values()) < 0.01
    layers = {layer.name for layer in network.hyper} | {x.name for step in network.steps for x in step.layers}
    assert set(report.clipped) == layers


def test_mu_hyper_leaves_in_real_units(network: EntropyNetwork, samples: list[LatentSample], path: IntegerPath) -> None:
    z = samples[2].z.astype(np.float32)
    found = CpuSession(path.graphs["hyper"], 1).run({"z_hat": z[None]}, ["mu_hyper"])["mu_hyper"][0]
    tensors = {"z_hat": z}
    for layer in network.hyper:
        x = np.concatenate([tensors[s.tensor][slice(*(s.channels or (0, None)))] for s in layer.inputs])
        x = convolved(x, layer.weight) + layer.bias[:, None, None]
        x = np.maximum(x, 0) if layer.relu else x
        tensors[layer.name] = shuffled(x) if layer.shuffle else x
    wanted = tensors["mu_hyper"]

    assert np.sqrt(np.square(found - wanted).mean()) < 0.01 * wanted.std()


@pytest.mark.parametrize("bits", [(8, 8), (10, 10), (12, 11)])
def test_weights_and_activations_stay_within_their_bits(
    network: EntropyNetwork, samples: list[LatentSample], bits: tuple[int, int]
) -> None:
    path = convert(network, samples, IntegerPrecision(*bits))
    limit = 2 ** (bits[0] - 1) - 1

    assert limit // 2 < _largest_weight(path) <= limit
    clips = {
        int(numpy_helper.to_array(constant))
        for model in path.graphs.values()
        for constant in model.graph.initializer
        if constant.name.startswith("constant/")
    }
    assert {abs(clip) for clip in clips} - {63, 511, 1023, 8191} <= {2**n - 1 for n in range(bits[1] + 1)}


def _largest_weight(path: IntegerPath) -> int:
    largest = 0
    shifts = {(proof.graph, proof.layer): proof.shifts for proof in path.proofs}
    for name, model in path.graphs.items():
        for constant in model.graph.initializer:
            layer = constant.name.removesuffix("/weight")
            if layer != constant.name and (name, layer) in shifts:
                weight = numpy_helper.to_array(constant)
                grid = np.array(shifts[name, layer])
                if len(grid) == len(weight):
                    largest = max(largest, int(np.abs(np.ldexp(weight, grid[:, None, None, None])).max()))
    return largest


def test_means_are_corrected() -> None:
    """Coarse weights, and inputs that are all a little too small, move the mean of a layer: it is brought back."""
    rng = np.random.default_rng(1)
    numbers = rng.integers(0, 200, (30, 12, 12)).astype(np.float32)
    weight = rng.normal(0, 0.1, (5, 30, 3, 3)).astype(np.float32)
    layer = Layer("layer", (Source("x"),), weight, rng.normal(0, 1, 5).astype(np.float32))
    wanted = convolved((numbers + np.float32(0.7)) * np.float32(0.5), weight)
    unit = Unit(np.ones(5), 255)
    readings = Readings((Piece("x", (0, 30)),), {"x": Unit(np.full(30, 0.5), 255)}, [{"x": numbers}])
    done = converted(layer, unit, wanted.mean((1, 2), dtype=np.float64), readings, IntegerPrecision(4, 8), head=False)
    means = done.tensors[0].mean((1, 2)) * done.unit.scale

    assert done.clipped == 0
    assert means == pytest.approx(wanted.mean((1, 2)) + layer.bias, abs=0.05)
    bare = done.layer.accumulated(readings.tensors[0], readings.limits).mean((1, 2))
    uncorrected = np.ldexp(bare, -done.layer.grid) * done.unit.scale
    assert np.abs(uncorrected - wanted.mean((1, 2))).max() > 0.2, "nothing to correct would test nothing"


def test_a_noisy_layer_gets_more_accumulators(
    network: EntropyNetwork, samples: list[LatentSample], path: IntegerPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noise, "_TOLERATED", 1e-3)
    split = convert(network, samples)
    names = {node.name for model in split.graphs.values() for node in model.graph.node}
    assert any(name.endswith("/term_1/cut") for name in names)
    assert not any("/cut" in node.name for model in path.graphs.values() for node in model.graph.node)
    assert all(proof.share < 1 for proof in split.proofs)
    assert abs(split.report.cost) < 0.06

    oracle = IntegerOracle(split.graphs)
    whole = {"z_hat": samples[0].z[None], "y_int": np.full((1, *samples[0].y.shape), 17)}
    floats = {name: value.astype(np.float32) for name, value in whole.items()}
    for name, model in split.graphs.items():
        outputs = oracle.run(name, whole)
        expected = oracle.floats(name, outputs)
        session = CpuSession(model, 1)
        found = session.run({given: floats[given] for given in session.inputs})
        assert all(np.array_equal(found[output], wanted) for output, wanted in expected.items())
        whole.update(outputs)
        floats.update(expected)  # type: ignore[arg-type]


def test_terms_share_the_inputs_between_them() -> None:
    rng = np.random.default_rng(0)
    pieces = (Piece("mu_hyper", (0, 6)), Piece("scale_hyper", (2, 5)), Piece("y_int", (0, 11)))
    weight, inputs = rng.normal(0, 30, (3, 20, 3, 3)), np.full(20, 1023.0)
    for count in (1, 2, 5):
        terms, grid = terms_on_grid(pieces, weight, np.ones(3), inputs, 2047, count)
        assert len(terms) == max(count, 2), "hyper parameters are always apart"
        assert [term.of_hyper for term in terms] == sorted((term.of_hyper for term in terms), reverse=True)
        assert sum(term.weight.shape[1] for term in terms) == 20
        read = [piece for term in terms for piece in term.pieces]
        assert sum(piece.width for piece in read) == 20
        assert all((term.shift >= grid).all() for term in terms)
        exact = np.concatenate([np.ldexp(term.weight, -term.shift[:, None, None, None]) for term in terms], 1)
        assert np.abs(exact - weight).max() <= 0.5 * np.exp2(-float(min(term.shift.min() for term in terms)))
    finer = [terms_on_grid(pieces, weight, np.ones(3), inputs, 2047, count)[0] for count in (1, 5)]
    assert min(t.shift.min() for t in finer[1]) > min(t.shift.min() for t in finer[0])


def test_the_first_of_several_accumulators_has_room_for_the_bias() -> None:
    rng = np.random.default_rng(0)
    pieces, inputs = (Piece("y_int", (0, 20)),), np.full(20, 1023.0)
    for bias in rng.uniform(1, 20_000, 20):
        (first, _), _ = terms_on_grid(pieces, rng.normal(0, 0.1, (3, 20, 3, 3)), np.full(3, bias), inputs, 2**20, 2)
        reached = np.abs(first.weight).sum((1, 2, 3)) * 1023 + np.ldexp(bias, first.shift.astype(np.int32))
        assert (reached < 2**24).all()


def test_clips_of_what_comes_from_outside_have_room() -> None:
    network = pocket_network("checkerboard")
    seen = observe(network, pocket_samples(network, spread=3))
    assert fed_in_limit(seen.tensors["z_hat"]) == 15
    largest = seen.tensors["y_int"].largest.max()
    assert fed_in_limit(seen.tensors["y_int"]) in (511, 1023)
    assert fed_in_limit(replace(seen.tensors["y_int"], largest=largest[None] * 100)) == 1023


def test_ranges_have_room_for_other_photos(network: EntropyNetwork, samples: list[LatentSample]) -> None:
    seen = observe(network, samples)
    units = plan(network, seen, IntegerPrecision()).units
    for name, unit in units.items():
        if unit.limit < 8191 and name not in ("z_hat", "y_int"):
            assert (unit.scale * unit.limit > 0.7 * seen.tensors[name].largest).all()


def _with_weights(network: EntropyNetwork, name: str, factor: float) -> EntropyNetwork:
    """The network with one layer's weights multiplied."""
    steps = tuple(
        replace(
            step,
            layers=tuple(
                replace(layer, weight=layer.weight * np.float32(factor)) if layer.name == name else layer
                for layer in step.layers
            ),
        )
        for step in network.steps
    )
    return replace(network, steps=steps)


def test_a_head_that_fits_no_grid_is_refused(network: EntropyNetwork, samples: list[LatentSample]) -> None:
    head = network.steps[0].index.tensor
    with pytest.raises(ConversionError, match=f"layer {head}, channel .* the model is damaged"):
        convert(_with_weights(network, head, 1e6), samples)


def test_a_layer_without_room_for_a_shift_gets_coarser_steps() -> None:
    """An input that was nearly silent on the samples and has a huge weight: one step of it is many of the output's."""
    weight = np.float32([[900, 0.5], [0.25, 0.5]])[:, :, None, None]
    layer = Layer("layer", (Source("x"),), weight, np.zeros(2, np.float32))
    numbers = np.random.default_rng(0).integers(0, 5, (2, 6, 6)).astype(np.float32)
    readings = Readings((Piece("x", (0, 2)),), {"x": Unit(np.ones(2), 1023)}, [{"x": numbers}])
    mean = convolved(numbers, weight).mean((1, 2), dtype=np.float64)
    done = converted(layer, Unit(np.ones(2), 1023), mean, readings, IntegerPrecision(), head=False)

    assert done.unit.scale.tolist() == [4.0, 1.0], "900 would need a shift by -1: two bits are missing"
    assert done.layer.grid.min() == 1
    shuffled_layer = replace(layer, weight=np.repeat(weight, [2, 6], 0), bias=np.zeros(8, np.float32), shuffle=True)
    done = converted(
        shuffled_layer, Unit(np.ones(2), 1023), np.repeat(mean, [2, 6]), readings, IntegerPrecision(), False
    )
    assert done.unit.scale.tolist() == [4.0, 1.0], "the four outputs of one channel share its unit"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: [], "no sample was given"),
        (lambda s: [replace(s[0], z=s[0].z[:1])], r"sample 0 has z \(1, 1, 2\)"),
        (lambda s: [s[0], replace(s[1], y=s[1].y[:, :-1])], "sample 1 has z"),
        (lambda s: [replace(s[0], z=s[0].z.astype(np.float32))], "float32 z"),
        (lambda s: [replace(s[0], y=s[0].y * np.float32(np.nan))], "finite float32"),
        (lambda s: [replace(s[0], z=s[0].z[:, :0], y=s[0].y[:, :0])], "sample 0"),
        (lambda s: [replace(s[0], z=s[0].z[0])], "sample 0"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    network: EntropyNetwork, samples: list[LatentSample], change: object, message: str
) -> None:
    with pytest.raises(ConversionError, match=message):
        convert(network, change(samples))  # type: ignore[operator]


@pytest.mark.parametrize("bits", [(3, 10), (13, 10), (10, 3), (10, 12)])
def test_precisions_that_are_not_offered_are_refused(bits: tuple[int, int]) -> None:
    with pytest.raises(ConversionError, match="is not offered"):
        IntegerPrecision(*bits)


def test_a_precision_reads_as_people_write_it() -> None:
    assert str(IntegerPrecision()) == "W10A10"
    assert (IntegerPrecision(8, 8).weight_limit, IntegerPrecision(8, 8).activation_limit) == (127, 255)
