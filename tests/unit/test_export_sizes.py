"""Photo sizes, ranges of them, and what the command line makes of them."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from ptp_export.cli import _sizes, export_command
from ptp_export.coded_sizes import coded_sizes
from ptp_export.engines.choices import BuildChoices
from ptp_export.engines.options_cli import cache_folder
from ptp_export.options import ENGINE_RANGE, WHOLE_RANGE, ExportOptions
from ptp_export.precision.choices import Loss, PrecisionChoices
from ptp_export.sizes import Size, SizeRange
from ptp_export.tensor_spec import TensorSpec, factor_and_symbol
from ptp_runtime.errors import UsageError
from ptp_runtime.manifest import CentreCrop, Resize
from ptp_runtime.user_cache import user_cache


def test_a_size_is_height_before_width() -> None:
    assert Size.parse("512x768") == Size(512, 768)
    assert str(Size.parse(" 7 X 9 ")) == "7x9"


@pytest.mark.parametrize("text", ["", "512", "512x", "x512", "512x768x3", "-1x5", "5.5x3", "0x5", "5x4097", "a x b"])
def test_another_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="photo size"):
        Size.parse(text)


def test_blocks_and_feature_round_up() -> None:
    size = Size(520, 693)
    assert size.blocks == (9, 11), "padded to 576x704"
    assert size.feature == (130, 174)
    assert Size(1, 64).bindings() == {"h": 1, "w": 1, "h4": 1, "w4": 16}


def test_symbolic_sizes_take_their_values() -> None:
    spec = TensorSpec("y", "float32", (1, 48, "4*h", "other"))
    assert spec.bind({"h": 9}) == (1, 48, 36, "other")
    assert factor_and_symbol("64*w") == (64, "w")
    with pytest.raises(ValueError, match="symbolic size"):
        factor_and_symbol("h+1")


def test_a_range_is_ordered_in_both_sides() -> None:
    with pytest.raises(UsageError, match="not ordered"):
        SizeRange(Size(64, 64), Size(32, 128), Size(256, 256))
    assert SizeRange.static(Size(5, 6)).is_static


def test_without_sizes_graphs_take_all_and_engines_a_part() -> None:
    assert _sizes(None, None, None, None) == (WHOLE_RANGE, ENGINE_RANGE)


def test_one_bound_moves_the_typical_size_inside() -> None:
    accepted, profile = _sizes(None, None, None, "256x300")
    assert accepted == profile == SizeRange(Size(1, 1), Size(256, 300), Size(256, 300))


def test_a_fixed_size_and_a_range_exclude_one_another() -> None:
    with pytest.raises(UsageError, match="--size"):
        _sizes("64x64", None, None, "128x128")


def _options(**changes: object) -> ExportOptions:
    values: dict[str, object] = {
        "task": "seg",
        "checkpoint": "a folder",
        "output": Path("out/bundle"),
        "precision": PrecisionChoices(fp16=True),
        "accepted": WHOLE_RANGE,
        "profile": ENGINE_RANGE,
        "targets": ("tensorrt-rtx", "onnx"),
        "devices": ("8.9",),
        "allow_partial": False,
        "overwrite": True,
        "only": "",
        "log_folder": Path("logs"),
        "build_timeout_s": 900.0,
    }
    return ExportOptions(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"accepted": SizeRange.static(Size(300, 451)), "profile": SizeRange.static(Size(300, 451))},
        {
            "accepted": SizeRange(Size(64, 64), Size(100, 200), Size(300, 400)),
            "profile": SizeRange(Size(64, 64), Size(100, 200), Size(300, 400)),
        },
        {"precision": PrecisionChoices(), "targets": (), "devices": (), "overwrite": False, "allow_partial": True},
        {"precision": PrecisionChoices(int8=True, observer="entropy", ranges=Path("ranges.json"))},
        {"precision": PrecisionChoices(fp16=True, int8=True, calibration=Path("photos"), save_ranges=Path("r.json"))},
        {"precision": PrecisionChoices(int8=True, best=Loss(0.025, 1.5))},
        {"choices": BuildChoices(("version",), strip_weights=True, require_proof="network")},
    ],
)
def test_the_repeating_command_asks_for_the_same_export(changes: dict[str, object]) -> None:
    options = _options(**changes)
    only = "" if options.precision.best else "head"
    words = shlex.split(options.command(only))
    assert words[0] == "ptp-export"
    context = export_command.make_context("ptp-export", words[1:])
    read = context.params
    assert (read["tasks"], read["checkpoint"], read["output"]) == (("seg",), "a folder", Path("out/bundle"))
    assert (read["targets"], read["devices"]) == (options.targets, options.devices)
    asked_of_precision = ("fp16", "int8", "observer", "calibration", "ranges", "save_ranges")
    assert [read[name] for name in asked_of_precision] == [
        getattr(options.precision, name) for name in asked_of_precision
    ]
    if options.precision.best is not None:
        assert (read["best"], read["max_bpp_loss"], read["max_metric_loss"]) == (True, "2.5%", 1.5)
    assert (read["overwrite"], read["allow_partial"], read["only"]) == (
        options.overwrite,
        options.allow_partial,
        only,
    )
    asked = ("compatible", "strip_weights", "require_proof")
    assert [read[name] or "" for name in asked] == [getattr(options.choices, name) or "" for name in asked]
    sizes = _sizes(read["size"], read["min_size"], read["typical_size"], read["max_size"])
    assert sizes == (options.accepted, options.profile)


def test_unknown_tasks_and_targets_are_refused() -> None:
    with pytest.raises(UsageError, match="task"):
        _options(task="depth")
    with pytest.raises(UsageError, match="target"):
        _options(targets=("openvino",))


def test_choices_that_make_no_sense_are_refused() -> None:
    with pytest.raises(UsageError, match="compatibility"):
        BuildChoices(("everything",))
    with pytest.raises(UsageError, match="level of proof"):
        BuildChoices(require_proof="hope")
    with pytest.raises(UsageError, match="tensorrt-rtx has no hardware-compatible"):
        _options(choices=BuildChoices(("hardware",)))
    assert _options(choices=BuildChoices(("hardware",)), targets=("tensorrt",)).choices.compatible == ("hardware",)


@pytest.mark.parametrize(("asked", "folder"), [("off", None), ("some/where", Path("some/where"))])
def test_the_cache_is_where_it_is_asked_for(asked: str, folder: Path | None) -> None:
    assert cache_folder(asked) == folder
    assert cache_folder(None) == cache_folder("") == user_cache("engines")


def test_engine_targets_are_listed_once_and_without_onnx() -> None:
    assert _options(targets=("onnx", "tensorrt-rtx", "tensorrt-rtx")).engine_targets == ("tensorrt-rtx",)


def test_a_declared_resize_decides_the_sizes() -> None:
    resize = Resize(shorter_side=800, longer_side=1333)
    dynamic = coded_sizes(_options(), resize)
    assert dynamic.static is None
    assert dynamic.accepted == WHOLE_RANGE
    assert dynamic.profile == SizeRange(Size(1, 1), Size(800, 1200), Size(1333, 1333))
    fixed = SizeRange.static(Size(427, 640))
    static = coded_sizes(_options(accepted=fixed, profile=fixed), resize)
    assert static.static == Size(800, 1199)
    assert static.accepted == static.profile == SizeRange.static(Size(800, 1199))
    plain = coded_sizes(_options(accepted=fixed, profile=fixed), None)
    assert plain.static == Size(427, 640)


@pytest.mark.parametrize("size", [None, Size(427, 640)])
def test_a_declared_crop_gives_one_size_whatever_was_asked_for(size: Size | None) -> None:
    asked = {} if size is None else {"accepted": SizeRange.static(size), "profile": SizeRange.static(size)}
    sizes = coded_sizes(_options(**asked), CentreCrop(shorter_side=256, crop=224))
    assert sizes.static == Size(224, 224)
    assert sizes.accepted == sizes.profile == SizeRange.static(Size(224, 224))
