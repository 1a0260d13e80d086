"""The float network's description refuses every contradiction when it is built."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ptp_calibration import CalibrationError
from ptp_calibration.integer_path import EntropyNetwork, Layer, NetworkError, Source, StepNetwork
from ptp_calibration.integer_path.pocket_network import pocket_network


def _layer(name: str, inputs: int, outputs: int, *sources: Source, side: int = 1, **more: Any) -> Layer:
    return Layer(
        name, sources, np.ones((outputs, inputs, side, side), np.float32), np.zeros(outputs, np.float32), **more
    )


def _network(**changes: Any) -> EntropyNetwork:
    """Two latent channels, coded in one step from the hyper parameters and, later, in a second."""
    parts: dict[str, Any] = {
        "hyper_channels": 1,
        "latent_channels": 2,
        "skip_index": 2,
        "hyper": (
            _layer("grow", 1, 16, Source("z_hat"), shuffle=True, relu=True),
            _layer("mu", 4, 4, Source("grow"), shuffle=True),
            _layer("scale", 4, 4, Source("grow"), shuffle=True),
            _layer("mu_hyper", 1, 2, Source("mu")),
            _layer("scale_hyper", 1, 2, Source("scale")),
        ),
        "steps": (_step("step_00", (0, 1), "all"), _step("step_01", (1, 2), "all", Source("y_int", (0, 1)))),
    }
    return EntropyNetwork(**(parts | changes))


def _step(name: str, channels: tuple[int, int], region: str, *more: Source, **changes: Any) -> StepNetwork:
    sources = (Source("mu_hyper", (0, 1)), Source("scale_hyper", (1, 2)), *more)
    last = _layer(f"{name}/last", len(sources), 2, *sources)
    parts = {"layers": (last,), "mean": Source(last.name, (0, 1)), "index": Source(last.name, (1, 2))}
    return StepNetwork(name, channels, region, **(parts | changes))


FIRST = _step("step_00", (0, 1), "all")
SECOND = _step("step_01", (1, 2), "all")
HYPER = _network().hyper


def _with_layer(*layers: Layer) -> EntropyNetwork:
    """The first step with more layers before its last."""
    return _network(steps=(replace(FIRST, layers=(*layers, *FIRST.layers)), SECOND))


def _both_channels() -> StepNetwork:
    last = _layer("step_01/last", 2, 4, Source("mu_hyper"))
    return StepNetwork("step_01", (0, 2), "all", (last,), Source(last.name, (0, 2)), Source(last.name, (2, 4)))


def test_a_sound_network_is_accepted() -> None:
    assert [step.name for step in _network().steps] == ["step_00", "step_01"]
    assert _network().hyper[0].channels == 4, "a shuffle divides the channels by four"
    assert issubclass(NetworkError, CalibrationError)


def test_layers_that_later_steps_read_are_known() -> None:
    shared = pocket_network("checkerboard").shared_layers()

    assert shared["step_02"] == ("step_02/channel_context/1",)
    assert all(not layers for name, layers in shared.items() if name != "step_02")


WRONG: dict[str, tuple[str, Any]] = {
    "no channels": ("0 hyper", lambda: _network(hyper_channels=0)),
    "no step": ("no step", lambda: _network(steps=())),
    "no mu_hyper": ("mu_hyper must have 2 channels", lambda: _network(hyper=HYPER[:3] + HYPER[4:])),
    "scale_hyper too small": (
        "scale_hyper must have",
        lambda: _network(hyper=(*HYPER[:4], _layer("scale_hyper", 4, 2, Source("grow")))),
    ),
    "two graphs of one name": ("two graphs", lambda: _network(steps=(FIRST, replace(SECOND, name="step_00")))),
    "a step called hyper": ("two graphs", lambda: _network(steps=(replace(FIRST, name="hyper"), SECOND))),
    "two layers of one name": ("two tensors", lambda: _with_layer(_layer("mu_hyper", 1, 1, Source("y_int", (0, 1))))),
    "a layer called like another step's": (
        "two tensors",
        lambda: _network(steps=(FIRST, replace(SECOND, layers=(*FIRST.layers, *SECOND.layers)))),
    ),
    "a layer called like an input": ("two tensors", lambda: _with_layer(_layer("y_int", 2, 1, Source("y_int")))),
    "a layer without a name": ("two tensors", lambda: _with_layer(_layer("", 2, 1, Source("y_int")))),
    "an unknown tensor": ("reads z_hat, which is not defined", lambda: _with_layer(_layer("a", 1, 1, Source("z_hat")))),
    "a cycle": (
        "reads b, which is not defined",
        lambda: _with_layer(_layer("a", 1, 1, Source("b")), _layer("b", 1, 1, Source("a"))),
    ),
    "itself": ("reads a, which is not defined", lambda: _with_layer(_layer("a", 1, 1, Source("a")))),
    "a later step's layer": ("not defined", lambda: _with_layer(_layer("a", 2, 1, Source("step_01/last")))),
    "nothing read": ("reads nothing", lambda: _with_layer(_layer("a", 0, 1))),
    "weights of other channels": (
        "for 3 channels; its sources have 2",
        lambda: _with_layer(_layer("a", 3, 1, Source("y_int"))),
    ),
    "an even kernel": ("odd k", lambda: _with_layer(_layer("a", 2, 1, Source("y_int"), side=2))),
    "channels out of range": ("channels 1..3", lambda: _with_layer(_layer("a", 2, 1, Source("y_int", (1, 3))))),
    "an empty range": ("channels 1..1", lambda: _with_layer(_layer("a", 0, 1, Source("y_int", (1, 1))))),
    "an unknown box": ("box 'left'", lambda: _with_layer(_layer("a", 2, 1, Source("y_int", None, "left")))),
    "a quadrant of a layer": (
        "a quadrant of a",
        lambda: _with_layer(_layer("a", 2, 1, Source("y_int")), _layer("b", 1, 1, Source("a", None, "top-left"))),
    ),
    "two sizes": (
        "different sizes",
        lambda: _with_layer(_layer("a", 4, 1, Source("y_int"), Source("y_int", None, "top-left"))),
    ),
    "half the size": ("2h high", lambda: _with_layer(_layer("a", 2, 1, Source("y_int", None, "top-left")))),
    "a shuffle in a step": ("shuffles", lambda: _with_layer(_layer("a", 2, 4, Source("y_int"), shuffle=True))),
    "a shuffle of five": ("multiple of 4", lambda: _network(hyper=(_layer("a", 1, 5, Source("z_hat"), shuffle=True),))),
    "too large": (
        "larger than y",
        lambda: _network(hyper=(*HYPER, _layer("a", 1, 4, Source("mu"), shuffle=True))),
    ),
    "an unknown region": ("region 'odd'", lambda: _network(steps=(replace(FIRST, region="odd"), SECOND))),
    "channels outside of y": ("a range within", lambda: _network(steps=(FIRST, replace(SECOND, channels=(1, 3))))),
    "a mean of another step": (
        "expected a layer of this step",
        lambda: _network(steps=(FIRST, replace(SECOND, mean=FIRST.mean))),
    ),
    "an index too wide": (
        "has 2 channels; the step codes 1",
        lambda: _network(steps=(replace(FIRST, index=Source("step_00/last")), SECOND)),
    ),
    "a head with a ReLU": (
        "has a ReLU",
        lambda: _network(steps=(replace(FIRST, layers=(replace(FIRST.layers[0], relu=True),)), SECOND)),
    ),
    "a head that is read": (
        "which gives a mean or an index",
        lambda: _network(steps=(FIRST, _step("step_01", (1, 2), "all", Source("step_00/last", (0, 1))))),
    ),
    "a channel not coded": ("channel 1 of y is coded in no step", lambda: _network(steps=(FIRST,))),
    "a channel coded twice": ("channel 0 of y is coded in all, all", lambda: _network(steps=(FIRST, _both_channels()))),
    "half a checkerboard": ("coded in anchor", lambda: _network(steps=(FIRST, replace(SECOND, region="anchor")))),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_contradiction_is_refused(case: str) -> None:
    message, build = WRONG[case]
    with pytest.raises(NetworkError, match=message):
        build()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": np.ones((1, 2, 1, 1))}, "float64"),
        ({"bias": np.zeros(1)}, "float64"),
        ({"bias": np.zeros(2, np.float32)}, r"biases \(2,\)"),
        ({"weight": np.full((1, 2, 1, 1), np.nan, np.float32)}, "not finite"),
        ({"bias": np.full(1, np.inf, np.float32)}, "not finite"),
        ({"weight": np.ones((1, 2), np.float32)}, "expected"),
    ],
)
def test_weights_that_are_none_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(NetworkError, match=message):
        _with_layer(replace(_layer("a", 2, 1, Source("y_int")), **change))
