"""``ptp import-checkpoint``: foreign names in, a checkpoint that loads out; every refusal has its sentence."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from ptp_export.import_cli import import_command
from ptp_model import checkpoint
from ptp_model.codec import FeatureCodec
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import preset
from ptp_model.teachers import build

State = dict[str, Tensor]

#: Ours → CompressAI's, written here a second time on purpose: the table under test is not asked.
FOREIGN = [
    (r"^h_mu\.", "h_mean_s."),
    (r"^h_sigma\.", "h_scale_s."),
    (r"^entropy_bottleneck\.matrices\.", "entropy_bottleneck._matrix"),
    (r"^entropy_bottleneck\.biases\.", "entropy_bottleneck._bias"),
    (r"^entropy_bottleneck\.factors\.", "entropy_bottleneck._factor"),
    (r"^(g_.\.\d)\.trunk\.(\d)\.body\.", r"\1.conv_a.\2.conv."),
    (r"^(g_.\.\d)\.gate\.0\.body\.", r"\1.conv_b.1.conv."),
    (r"^(g_.\.\d)\.gate\.1\.body\.", r"\1.conv_b.2.conv."),
    (r"^(g_.\.\d)\.gate\.2\.body\.", r"\1.conv_b.3.conv."),
    (r"^(g_.\.\d)\.gate\.3\.", r"\1.conv_b.4."),
    (r"^(g_.\.\d)\.attention\.bias$", r"\1.conv_b.0.attn.relative_position_bias_table"),
    (r"^(g_.\.\d)\.attention\.projection\.", r"\1.conv_b.0.attn.proj."),
]


def foreign(state: State) -> State:
    """The state dict of a codec of ours as CompressAI and DataParallel would have written it."""
    theirs: State = {}
    for name, value in state.items():
        if name.startswith("g_") and ".attention.query." in name:
            qkv = torch.cat([value, state[name.replace("query", "key_value")]])
            theirs[name.replace("attention.query", "conv_b.0.attn.qkv")] = qkv
        elif not (name.startswith("g_") and ".attention.key_value." in name):
            for pattern, replacement in FOREIGN:
                name = re.sub(pattern, replacement, name)
            theirs[name] = value
    theirs["entropy_bottleneck._quantized_cdf"] = torch.ones(32, 9, dtype=torch.int32)
    theirs["gaussian_conditional.scale_table"] = torch.ones(64)
    return {f"module.{name}": value for name, value in theirs.items()}


@pytest.fixture(scope="module")
def codec() -> FeatureCodec:
    with torch.random.fork_rng():
        torch.manual_seed(7)
        codec = FeatureCodec(preset("tiny"))
        for parameter in codec.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
        codec.entropy_bottleneck.quantiles.data[:] = torch.tensor([-10.0, 0.0, 10.0])
        codec.feature_std.fill_(2.0)
    return codec


@pytest.fixture
def state(codec: FeatureCodec) -> State:
    return {name: value.detach().clone() for name, value in codec.state_dict().items()}


def run(*arguments: object, spec: tuple[str, ...] = ("--preset", "tiny")) -> Result:
    return CliRunner().invoke(import_command, [str(a) for a in (*arguments, *spec)])


def saved(folder: Path, content: Any, name: str = "codec.pth") -> Path:
    torch.save(content, folder / name)
    return folder / name


def imported(result: Result, folder: Path) -> checkpoint.Checkpoint:
    assert result.exit_code == 0, result.output
    return checkpoint.load(folder)


def refused(result: Result, output: Path, *words: str, code: int = 7) -> None:
    assert result.exit_code == code, result.output
    for word in words:
        assert word in result.output
    assert "Traceback" not in result.output
    assert not output.exists()
    assert not list(output.parent.glob(".*.partial"))


def same(loaded: torch.nn.Module, state: State) -> None:
    for name, value in loaded.state_dict().items():
        if not name.endswith(("_quantized_cdf", "_offset", "_cdf_length")):
            assert torch.equal(value, state[name]), name


@pytest.mark.parametrize("container", ["", "state_dict", "model", "net"])
def test_a_codec_under_foreign_names_comes_back_identical(state: State, tmp_path: Path, container: str) -> None:
    theirs = foreign(state)
    loss = torch.tensor(0.5)
    source = saved(tmp_path, {container: theirs, "epoch": 3, "loss": loss} if container else theirs, "codec.pth.tar")
    report = tmp_path / "report.json"
    result = run(source, "--report", report, "-o", tmp_path / "out")

    same(imported(result, tmp_path / "out").codec, state)
    assert "codec: 0 matched" in result.output
    assert "0 missing" in result.output
    assert "left over: 0" in result.output
    assert "passed over: 4 (table of CompressAI's own coder)" in result.output
    content = json.loads(report.read_text())
    assert content["refused"] is False
    assert content["sources"][0]["container"] == container
    assert content["sources"][0]["other_entries"] == ({"epoch": "int", "loss": "Tensor"} if container else {})
    assert content["renamed"]["codec.pth.tar: module.h_mean_s.0.bias"] == "h_mu.0.bias"
    key = "codec.pth.tar: module.g_a.4.conv_b.0.attn.qkv.bias"
    assert content["renamed"][key] == "g_a.4.attention.query.bias, g_a.4.attention.key_value.bias"


def test_constants_may_be_missing_and_flat_statistics_are_taken(state: State, tmp_path: Path) -> None:
    slim = {name: value for name, value in state.items() if "reparam" not in name and "bound" not in name}
    slim |= {name: state[name].flatten() for name in ("feature_mean", "feature_std")}
    del slim["entropy_bottleneck.quantiles"], slim["entropy_bottleneck.target"]
    for name in ("_offset", "_quantized_cdf", "_cdf_length"):
        del slim[f"entropy_bottleneck.{name}"]
    save_file(slim, tmp_path / "codec.safetensors")
    result = run(tmp_path / "codec.safetensors", "-v", "-o", tmp_path / "out")

    same(imported(result, tmp_path / "out").codec, state)
    assert "constants filled in" in result.output
    assert "  matched      g_a.0.weight" in result.output


def test_shards_and_prefixes_of_the_user_s_own(state: State, tmp_path: Path) -> None:
    mine = {re.sub(r"^g_a\.", "enc.", name): value for name, value in state.items()}
    halves = [dict(list(mine.items())[:100]), dict(list(mine.items())[100:])]
    sources = [saved(tmp_path, half, f"part{number}.pt") for number, half in enumerate(halves)]
    same(imported(run(*sources, "--rename", "enc=g_a", "-o", tmp_path / "out"), tmp_path / "out").codec, state)


# Tasks --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def prompts() -> State:
    made = TaskPrompts(preset("tiny"))
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(value.shape, generator=generator) for name, value in made.state_dict().items()}


@pytest.fixture(scope="module")
def head() -> State:
    return build("efficientnet-lite0", "seg").head_state()


@pytest.mark.parametrize("way", ["apart", "one file", "own task file", "bare"])
def test_prompts_and_heads(way: str, state: State, prompts: State, head: State, tmp_path: Path) -> None:
    as_head = {f"head.{name}": value for name, value in head.items()}
    if way == "apart":
        one = saved(tmp_path, {"state_dict": {f"module.{name}": value for name, value in prompts.items()}}, "p.pth")
        other = saved(tmp_path, head, "h.pth")
        arguments = [saved(tmp_path, state), "--prompts", f"seg={one}", "--head", f"seg={other}"]
    elif way == "one file":
        content = {"model": state, "prompts": {"seg": prompts}, "heads": {"seg": head}, "optimizer": {"lr": 0.1}}
        arguments = [saved(tmp_path, content)]
    elif way == "own task file":
        file = saved(tmp_path, {f"prompts.{name}": value for name, value in prompts.items()} | as_head, "seg.pth")
        arguments = [saved(tmp_path, state), "--prompts", f"seg={file}", "--head", f"seg={file}"]
    else:
        arguments = [saved(tmp_path, state | prompts | as_head), "--task", "seg"]
    loaded = imported(run(*arguments, "-o", tmp_path / "out"), tmp_path / "out")

    assert set(loaded.tasks) == {"seg"}
    for name, value in loaded.tasks["seg"].prompts.state_dict().items():
        assert torch.equal(value, prompts[name]), name
    for name, value in loaded.tasks["seg"].teacher.head_state().items():
        assert torch.equal(value, head[name]), name


def test_a_classifier_needs_no_head(state: State, prompts: State, tmp_path: Path) -> None:
    one = saved(tmp_path, prompts, "p.pth")
    loaded = imported(run(saved(tmp_path, state), "--prompts", f"cls={one}", "-o", tmp_path / "o"), tmp_path / "o")
    assert set(loaded.tasks) == {"cls"}


def test_a_stem_is_the_teacher_s_own_where_the_source_has_none(tmp_path: Path) -> None:
    codec = FeatureCodec(preset("tiny", transform="stem"))
    bare = {name: value for name, value in codec.state_dict().items() if not name.startswith("stem.")}
    result = run(saved(tmp_path, bare), "--transform", "stem", "-o", tmp_path / "out")
    loaded = imported(result, tmp_path / "out").codec
    assert loaded.stem is not None
    image = torch.rand(1, 3, 64, 64)
    normalised = (image - loaded.image_mean) / loaded.image_std
    expected = build("efficientnet-lite0", "cls").stem(image)
    torch.testing.assert_close(loaded.stem(normalised), expected, rtol=1e-3, atol=1e-3)


def test_torchvision_s_state_dict_is_a_head() -> None:
    """Names alone: the network has forty million weights."""
    from ptp_model.importing.assembly import Assembly
    from ptp_model.importing.matching import match, offers
    from ptp_model.importing.names import Place, part_of
    from ptp_model.importing.sources import Source

    spec = preset("tiny", teacher="resnet50")
    assembly = Assembly.of(spec, ["seg", "det"], [])
    wanted = {name: value for name, value in assembly.expected().items() if part_of(name).startswith("head.")}
    offered = []
    for task in ("seg", "det"):
        state = dict(assembly.tasks[task].teacher.shipped().state_dict())
        if task == "seg":
            state["aux_classifier.4.bias"] = torch.zeros(21)
            assert "backbone.layer1.0.conv1.weight" in state
        else:  # as torchvision spelt them before 0.13
            state = {re.sub(r"(_blocks\.\d)\.0\.", r"\1.", name): value for name, value in state.items()}
            renamed = {}
            for name, value in state.items():
                found = re.match(r"(head\.\w+_head\.conv)\.(\d)\.0\.(\w+)$", name)
                renamed[f"{found[1]}.{2 * int(found[2])}.{found[3]}" if found else name] = value
            state = renamed
            assert "head.regression_head.conv.6.bias" in state
        offered += offers(Source("t.pth", "", "", {f"module.{k}": v for k, v in state.items()}), Place(task, "head"))
    matching = match(wanted, offered)
    assert not matching.refused, matching.problems()
    assert set(matching.passed_over.values()) == {
        "used in training only",
        "counter that no evaluation reads",
    }


# Statistics of the feature ------------------------------------------------------------------------------------


@pytest.fixture
def without_statistics(state: State, tmp_path: Path) -> Path:
    return saved(tmp_path, {name: value for name, value in state.items() if not name.startswith("feature_")})


def test_missing_statistics_get_a_sentence(without_statistics: Path, tmp_path: Path) -> None:
    result = run(without_statistics, "-o", tmp_path / "out")
    refused(result, tmp_path / "out", "2 missing", "feature_std", "--feature-statistics identity", "--photos DIR")


def test_statistics_from_a_file(without_statistics: Path, tmp_path: Path) -> None:
    mean, std = [0.5] * 24, [float(k + 1) for k in range(24)]
    (tmp_path / "figures.json").write_text(json.dumps({"mean": mean, "std": std}))
    arguments = [without_statistics, "--feature-statistics", tmp_path / "figures.json", "-o", tmp_path / "out"]
    loaded = imported(run(*arguments), tmp_path / "out")
    assert loaded.codec.feature_std.flatten().tolist() == std
    assert loaded.codec.feature_mean.flatten().tolist() == mean
    assert loaded.provenance["imported"]["feature_statistics"] == "figures.json"


def test_a_codec_of_the_feature_as_it_is(without_statistics: Path, tmp_path: Path) -> None:
    loaded = imported(run(without_statistics, "--feature-statistics", "identity", "-o", tmp_path / "o"), tmp_path / "o")
    assert (loaded.codec.feature_mean == 0).all()
    assert (loaded.codec.feature_std == 1).all()


def test_statistics_measured_on_photographs(without_statistics: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((200, 200), Image.Resampling.BICUBIC).save(tmp_path / "photos" / "mine.png")
    loaded = imported(run(without_statistics, "--photos", tmp_path / "photos", "-o", tmp_path / "o"), tmp_path / "o")
    assert loaded.codec.feature_mean.abs().max() > 0.01
    assert loaded.provenance["imported"]["feature_statistics"] == "1 photographs"


def test_wrong_statistics(without_statistics: Path, tmp_path: Path) -> None:
    (tmp_path / "figures.json").write_text(json.dumps({"mean": [0.0] * 24, "std": [0.0] * 24}))
    arguments = [without_statistics, "--feature-statistics", tmp_path / "figures.json"]
    refused(run(*arguments, "-o", tmp_path / "out"), tmp_path / "out", "expected figures above 0")


def test_statistics_in_a_source_must_be_possible_too(state: State, tmp_path: Path) -> None:
    state["feature_std"].zero_()
    refused(run(saved(tmp_path, state), "-o", tmp_path / "out"), tmp_path / "out", "expected figures above 0")


# Refusals -----------------------------------------------------------------------------------------------------


def test_shapes_are_refused_all_at_once(state: State, tmp_path: Path) -> None:
    state["g_a.0.weight"], state["h_a.0.bias"] = torch.zeros(64, 3, 5, 5), torch.zeros(3)
    state["g_s.1.bias"] = torch.zeros(32, dtype=torch.int8)
    state["g_s.3.bias"][0] = torch.nan
    del state["h_mu.0.bias"]
    state["surplus"] = torch.zeros(1)
    report = tmp_path / "report.json"
    result = run(saved(tmp_path, state), "--report", report, "-o", tmp_path / "out")
    refused(
        result,
        tmp_path / "out",
        "not those of preset tiny, cnn, checkerboard, rates 1",
        "g_a.0.weight: expected shape [32, 3, 5, 5], got [64, 3, 5, 5]",
        "h_a.0.bias: expected shape [40], got [3]",
        "g_s.1.bias: expected float32, got int8",
        "g_s.3.bias: expected finite values, got NaN or infinity",
        "1 missing",
        "h_mu.0.bias",
        "1 left over",
        "codec.pth: surplus",
        "--rename OLD=NEW",
    )
    content = json.loads(report.read_text())
    assert content["refused"] is True
    assert len(content["unfit"]) == 4
    assert content["missing"] == ["h_mu.0.bias"]


def test_missing_and_left_over_may_be_named(state: State, tmp_path: Path) -> None:
    del state["image_extractor.0.weight"]
    state["loss.scale"] = torch.zeros(1)
    source = saved(tmp_path, state)
    refused(run(source, "-o", tmp_path / "no", "--ignore", "loss.*"), tmp_path / "no", "1 missing")
    refused(run(source, "-o", tmp_path / "no", "--allow-missing", "image_*"), tmp_path / "no", "1 left over")
    arguments = [source, "--ignore", "loss.*", "--allow-missing", "image_extractor.*", "-o", tmp_path / "out"]
    result = run(*arguments)
    loaded = imported(result, tmp_path / "out")
    assert loaded.provenance["imported"]["kept_fresh"] == ["image_extractor.0.weight"]
    assert "1 kept fresh" in result.output
    again = imported(run(*arguments[:-1], tmp_path / "again"), tmp_path / "again")
    assert loaded.digest == again.digest, "fresh values are the same in every run"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("h_s.0.weight", "One h_s for means and scales is another network"),
        ("p_ga.0.weight", "say whose they are with --task"),
    ],
)
def test_names_with_a_hint(name: str, words: str, state: State, tmp_path: Path) -> None:
    refused(run(saved(tmp_path, state | {name: torch.zeros(1)}), "-o", tmp_path / "out"), tmp_path / "out", words)


def test_a_task_without_its_head_is_told_how_to_give_it(state: State, prompts: State, tmp_path: Path) -> None:
    one = saved(tmp_path, prompts, "p.pth")
    result = run(saved(tmp_path, state), "--prompts", f"seg={one}", "-o", tmp_path / "out")
    refused(result, tmp_path / "out", "The head of seg: give --head seg=FILE")


def test_a_head_beyond_float16_is_refused(state: State, prompts: State, head: State, tmp_path: Path) -> None:
    large = {name: value.float() for name, value in head.items()}
    large["deeplab.4.weight"] = large["deeplab.4.weight"] + 1e6
    content = {"model": state, "prompts": {"seg": prompts}, "heads": {"seg": large}}
    result = run(saved(tmp_path, content), "-o", tmp_path / "out")
    refused(result, tmp_path / "out", "head.seg.deeplab.4.weight: expected values within float16, got 1e+06")


def test_two_tensors_of_one_name_are_refused(state: State, tmp_path: Path) -> None:
    state["module.g_a.0.bias"] = state["g_a.0.bias"] + 1
    result = run(saved(tmp_path, state), "-o", tmp_path / "out")
    refused(result, tmp_path / "out", "expected one tensor of this name, got another in codec.pth: g_a.0.bias")
    state["module.g_a.0.bias"] = state["g_a.0.bias"].clone()
    imported(run(saved(tmp_path, state), "-o", tmp_path / "out"), tmp_path / "out")


def test_medians_that_are_not_zero_get_a_note(state: State, tmp_path: Path) -> None:
    state["entropy_bottleneck.quantiles"][3, 0, 1] = 0.75
    result = run(saved(tmp_path, state), "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert "medians lie up to 0.75 from 0" in result.output


def test_a_file_with_objects_is_refused(state: State, tmp_path: Path) -> None:
    source = saved(tmp_path, {"state_dict": state, "args": Namespace(lr=1)})
    refused(run(source, "-o", tmp_path / "out"), tmp_path / "out", "unpickled (argparse.Namespace)")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--rename", "nothing"], "expected OLD=NEW"),
        (["--rename", "enc=g_a"], "no name that begins so"),
        (["--prompts", "seg"], "expected TASK=FILE"),
        (["--prompts", "view=codec.pth"], "tasks with prompts are seg, det, cls"),
        (["--head", "seg=nowhere.pth"], "none of the name nowhere.pth"),
        (["--feature-statistics", "nowhere"], "expected a file, or 'identity'"),
        (["--feature-statistics", "identity"], "given twice"),
        (["--rates", "0"], "1<=x<=255"),
    ],
)
def test_requests_that_make_no_sense(arguments: list[str], words: str, tmp_path: Path) -> None:
    figures = {"feature_mean": torch.zeros(24)} if "identity" in arguments else {}
    source = saved(tmp_path, {"g_a.0.bias": torch.zeros(1), **figures})
    refused(run(source, *arguments, "-o", tmp_path / "out"), tmp_path / "out", words, code=2)


def test_an_output_that_holds_something_is_left_alone(state: State, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    result = run(saved(tmp_path, state), "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert "not empty" in result.output
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_nothing_is_left_of_a_failed_write(state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ptp_model.errors import NotSavedError

    def full(*_: object, **__: object) -> str:
        raise NotSavedError("no room; make room there")

    monkeypatch.setattr(checkpoint, "save", full)
    refused(run(saved(tmp_path, state), "-o", tmp_path / "out"), tmp_path / "out", "make room")


def test_half_precision_and_a_checkpoint_as_source(state: State, tmp_path: Path) -> None:
    imported(run(saved(tmp_path, state), "--half", "-o", tmp_path / "one"), tmp_path / "one")
    stored = load_file(tmp_path / "one" / "codec.safetensors")
    assert stored["g_a.0.weight"].dtype == torch.float16
    again = imported(run(tmp_path / "one" / "codec.safetensors", "-o", tmp_path / "two"), tmp_path / "two")
    same(again.codec, {name: value.float() for name, value in stored.items()})
