"""The integer entropy path of a task: exported, tested, proved, weighed; and what is seen of an altered one."""

from __future__ import annotations

import dataclasses
import json
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from ptp_calibration.integer_path import LatentSample
from ptp_export.bundle.tables_from_model import tables_from_model
from ptp_export.entropy.calibration_latents import calibration_latents
from ptp_export.entropy.certificate import proved_again
from ptp_export.entropy.golden import COLUMNS, ROWS, covering_golden, golden_test
from ptp_export.entropy.integer_export import IntegerExport, integer_export
from ptp_export.entropy.rate_cost import RateCost, stream_bytes, total
from ptp_export.oracle.entropy_reference import GraphEntropy, ModelEntropy, code_latents
from ptp_export.oracle.photo_groups import shipped_set
from ptp_export.oracle.reference import ReferenceChain
from ptp_export.sizes import Size, SizeRange
from ptp_export.verify.integers import IntegerResult, compare_integers
from ptp_model.codec import FeatureCodec
from ptp_model.context.schedule import box
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import CheckerboardSpec, SwinSpec, ZigzagSpec, preset
from ptp_runtime.errors import VerificationError
from ptp_runtime.golden import GoldenTest
from ptp_runtime.latents import Latents, StepRecord
from ptp_runtime.manifest import ScheduleEntry

CONTEXTS = ("checkerboard", "zigzag")
RATES = 2


def _chain(context: str) -> ReferenceChain:
    """Random weights, wide enough apart that indices and means differ from place to place."""
    spec = dataclasses.replace(
        preset("tiny"),
        context=context,
        rates=RATES,
        N=8,
        early_width=8,
        M=12,
        Z=6,
        hyper_analysis=((8, 1), (8, 2), (8, 1), (6, 2)),
        hyper_synthesis=(7, 8, 9, 10),
        prompt_width=5,
        swin=SwinSpec((4, 4, 8, 12), (1, 1, 1, 1), (1, 1, 2, 2), (1, 1, 1)),
        checkerboard=CheckerboardSpec((2, 4, 6), (7, 5), (12, 9)),
        zigzag=ZigzagSpec(3, 4, (9, 8, 7, 6)),
    )
    torch.manual_seed(8)
    codec, prompts = FeatureCodec(spec).eval(), TaskPrompts(spec).eval()
    with torch.no_grad():
        for module in (codec.h_mu, codec.h_sigma, codec.context, prompts.p_hmu, prompts.p_hsigma):
            for parameter in module.parameters():
                parameter.mul_(1.5).add_(0.05 * torch.randn_like(parameter))
    return ReferenceChain(codec, prompts, None)


def _samples(count: int = 3) -> list[LatentSample]:
    generator = np.random.default_rng(4)
    return [
        LatentSample(
            generator.integers(-4, 5, (6, 3, 4)).astype(np.int32),
            generator.normal(0, 6, (12, 12, 16)).astype(np.float32),
        )
        for _ in range(count)
    ]


@pytest.fixture(scope="module", params=CONTEXTS)
def exported(request: pytest.FixtureRequest) -> tuple[ReferenceChain, IntegerExport]:
    chain = _chain(request.param)
    return chain, integer_export(chain, _samples())


def _models(export: IntegerExport) -> dict[str, onnx.ModelProto]:
    return {graph.name: onnx.load_from_string(graph.data) for graph in export.graphs}


def _integers(chain: ReferenceChain, export: IntegerExport) -> GraphEntropy:
    return GraphEntropy(_models(export), [step.name for step in chain.codec.context.schedule])


def test_the_integer_path_follows_the_float_path(exported: tuple[ReferenceChain, IntegerExport]) -> None:
    """Index and mean are rounded to other integers here and there, never to other ones altogether."""
    chain, export = exported
    (sample,) = _samples(1)
    y, z = torch.from_numpy(sample.y[None]), torch.from_numpy(sample.z[None]).float()
    codec = chain.codec
    arguments = (codec.context.schedule, codec.spec.skip_index)
    ours = code_latents(y, z, _integers(chain, export), *arguments)
    model = code_latents(y, z, ModelEntropy(codec, chain.prompts), *arguments)
    distinct = set()
    for step in codec.context.schedule[:2]:
        found, expected = (coded.graphs[step.name].outputs["index"].astype(int) for coded in (ours, model))
        distinct |= set(found.flat)
        assert np.abs(found - expected).max() <= 2
        assert (found != expected).mean() < 0.2
    assert len(distinct) > 5, "an index that never changes would follow anything"
    scale = float(model.mu_hyper.abs().max())
    assert float((ours.mu_hyper - model.mu_hyper).abs().max()) < 0.03 * scale


def test_the_same_model_and_photos_give_the_same_bytes() -> None:
    first, second = (integer_export(_chain("checkerboard"), _samples()) for _ in range(2))
    assert [graph.sha256 for graph in first.graphs] == [graph.sha256 for graph in second.graphs]
    assert first.golden.digest == second.golden.digest
    other = integer_export(_chain("checkerboard"), _samples(2))
    assert other.graphs[0].sha256 != first.graphs[0].sha256


def test_the_audit_says_what_was_proved(exported: tuple[ReferenceChain, IntegerExport]) -> None:
    _, export = exported
    audit = json.loads(json.dumps(export.audit(), allow_nan=False))
    assert audit["precision"] == "W10A10"
    certificate = audit["certificate"]
    assert certificate["limit"] == 2**24
    assert 0 < certificate["worst"]["share"] == max(layer["share"] for layer in certificate["layers"]) < 1
    assert {layer["graph"] for layer in certificate["layers"]} == {graph.name for graph in export.graphs}
    assert audit["calibration_cost"]["samples"] == 3
    assert audit["calibration_cost"]["float_bits"] > 0
    assert proved_again(_manifest(audit), _models(export)) == certificate


def _manifest(audit: dict[str, Any]) -> Any:
    return SimpleNamespace(audit={"entropy": audit})


def _scaled_weight(model: onnx.ModelProto, layer: str, channel: int, factor: float) -> None:
    """The largest weight of one output channel, times a factor."""
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == f"{layer}/weight")
    value = numpy_helper.to_array(weight).copy()
    value[channel].flat[int(np.abs(value[channel]).argmax())] *= factor
    weight.CopyFrom(numpy_helper.from_array(value, weight.name))


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.5, "certificate in the manifest is not"),
        (2.0**20, "is not exact.*layer step_03/aggregate/1"),
        (0.3, "is not exact"),
    ],
)
def test_a_changed_weight_is_no_longer_what_was_proved(factor: float, words: str) -> None:
    export = integer_export(_chain("checkerboard"), _samples())
    audit, models = json.loads(json.dumps(export.audit())), _models(export)
    (proof,) = [entry for entry in audit["certificate"]["layers"] if entry["layer"] == "step_03/aggregate/1"]
    _scaled_weight(models["step_03"], proof["layer"], proof["channel"], factor)
    with pytest.raises(VerificationError, match=words):
        proved_again(_manifest(audit), models)


@pytest.mark.parametrize("stated", [{}, {"entropy": None}, {"entropy": {"certificate": {"layers": 3}}}])
def test_a_manifest_without_a_certificate_is_refused(stated: dict[str, Any]) -> None:
    export = integer_export(_chain("checkerboard"), _samples())
    with pytest.raises(VerificationError, match="certificate in the manifest"):
        proved_again(SimpleNamespace(audit=stated), _models(export))  # type: ignore[arg-type]


def test_the_golden_test_holds_real_values_and_extremes(exported: tuple[ReferenceChain, IntegerExport]) -> None:
    chain, export = exported
    golden = export.golden
    schedule = chain.codec.context.schedule
    assert golden.z_hat.shape == (6, ROWS, COLUMNS)
    assert np.abs(golden.z_hat[:, :, :-1]).max() <= 4, "a photograph's values, away from the extremes"
    assert np.abs(golden.z_hat[:, :, -1]).max() > 1023
    y_int = 16 * golden.q.astype(int)
    assert (np.abs(y_int) > 1023).any()
    assert np.median(np.abs(y_int[y_int != 0])) < 300
    assert [step.channels for step in golden.steps] == [step.channels for step in schedule]
    for step in golden.steps:
        assert len(np.unique(step.index)) > 1
        assert step.layers
    carried = [name for step in golden.steps for name in step.outputs]
    assert bool(carried) == (chain.codec.spec.context == "checkerboard")
    again = golden_test(_models(export), _samples()[-1], schedule, chain.codec.spec.skip_index)
    assert again.to_bytes() == golden.to_bytes()
    assert GoldenTest.from_bytes(golden.to_bytes()).digest == golden.digest


def test_torch_passes_the_golden_test(exported: tuple[ReferenceChain, IntegerExport]) -> None:
    """Made by the oracle in int64; computed again here in float32 by torch's kernels."""
    chain, export = exported
    golden = export.golden
    steps = [
        StepRecord(_in_box(golden.q, step).astype(np.int32), expected.index, expected.mean)
        for step, expected in zip(chain.codec.context.schedule, golden.steps, strict=True)
    ]
    y_int = np.zeros((1, *golden.q.shape), np.float32)
    latents = Latents(golden.z_hat.astype(np.int32), y_int, {}, tuple(steps))
    schedule = [ScheduleEntry(step.name, step.channels, step.region) for step in chain.codec.context.schedule]
    differing, compared = compare_integers(latents, _integers(chain, export), schedule)
    assert differing == 0
    assert compared == 2 * sum(step.index.size for step in golden.steps)
    wrong = dataclasses.replace(steps[2], mean=steps[2].mean + np.int16(1))
    altered = dataclasses.replace(latents, steps=(*steps[:2], wrong, *steps[3:]))
    assert compare_integers(altered, _integers(chain, export), schedule)[0] >= wrong.mean.size


def _in_box(q: np.ndarray, step: Any) -> np.ndarray:  # type: ignore[type-arg]
    return box(torch.from_numpy(q[None, slice(*step.channels)]), step.region)[0].numpy()


def test_bytes_of_equal_latents_are_equal(exported: tuple[ReferenceChain, IntegerExport]) -> None:
    chain, export = exported
    (sample,) = _samples(1)
    y, z = torch.from_numpy(sample.y[None]), torch.from_numpy(sample.z[None]).float()
    tables = tables_from_model(chain.codec)
    arguments = (chain.codec.context.schedule, chain.codec.spec.skip_index)
    sizes = [
        stream_bytes(code_latents(y, z, entropy, *arguments), tables, *arguments)
        for entropy in (ModelEntropy(chain.codec, chain.prompts), _integers(chain, export))
    ]
    assert sizes[0] > 300
    assert abs(RateCost(*sizes).share) < 0.02
    louder = stream_bytes(
        code_latents(3 * y, z, ModelEntropy(chain.codec, chain.prompts), *arguments), tables, *arguments
    )
    assert louder > sizes[0]


def test_costs_of_all_photos_are_those_of_their_sum() -> None:
    assert total([RateCost(100, 110), RateCost(900, 900)]).share == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"differing": 1}, "1 of 50 indices and means"),
        ({"costs": (RateCost(1000, 1011),)}, "costs \\+1.10% bytes"),
        ({"costs": ()}, "nothing was compared"),
        ({"compared": 0}, "nothing was compared"),
    ],
)
def test_a_report_names_what_is_wrong(changes: dict[str, Any], words: str) -> None:
    result = dataclasses.replace(
        IntegerResult({"worst": {}}, (RateCost(1000, 1003), RateCost(500, 500)), 0, 50, 0.01), **changes
    )
    problems = result.problems()
    assert bool(problems) == bool(words)
    if words:
        assert re.search(words, problems[0])
    assert json.loads(json.dumps(result.to_dict(), allow_nan=False))["passed"] is not bool(words)


def test_latents_of_every_rate_and_photo_are_calibrated_on() -> None:
    chain = _chain("checkerboard")
    photos = shipped_set("calibration")
    samples = calibration_latents(chain, photos, None)
    assert len(samples) == RATES * len(photos)
    first, second = samples[:2]
    gains = [chain.codec.gain(rate) for rate in range(RATES)]
    assert all(gain is not None for gain in gains)
    ratio = (gains[1] / gains[0])[0].numpy()  # type: ignore[operator]
    np.testing.assert_allclose(second.y, first.y * ratio, rtol=1e-4, atol=1e-5)
    assert first.z.dtype == np.int32
    assert first.z.shape == (6, *(side // 4 for side in first.y.shape[1:]))


def test_engines_of_the_path_can_run_the_golden_test() -> None:
    wider = covering_golden(SizeRange.static(Size(300, 451)))
    assert (wider.smallest, wider.typical, wider.largest) == (Size(128, 384), Size(300, 451), Size(300, 451))
    wider = covering_golden(SizeRange(Size(1, 1), Size(64, 64), Size(64, 640)))
    assert (wider.smallest, wider.largest) == (Size(1, 1), Size(128, 640))
