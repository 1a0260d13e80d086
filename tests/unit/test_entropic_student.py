"""The baseline Entropic Student: its layers, its bytes, its training, its checkpoint and its row in an evaluation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ptp_export.evaluation.evaluate import Harness, Setting
from ptp_export.evaluation.feature_codecs import entropic_students
from ptp_export.evaluation.fidelity import feature_error
from ptp_export.evaluation.measures import measure_of
from ptp_export.evaluation.photo_list import EvaluationPhoto
from ptp_export.evaluation.reference import Judge
from ptp_model.baselines import student_checkpoint
from ptp_model.baselines.entropic_student import EntropicStudent, latent_size
from ptp_model.errors import CheckpointError, SpecError
from ptp_model.rate import factorised_bits
from ptp_model.teachers import Teacher, build
from ptp_model.training.crops import PhotoCrops
from ptp_model.training.entropic_student import StudentConfig, start_from_statistics, train_entropic_student
from ptp_model.training.loop import LoopConfig, Watch
from ptp_runtime import errors

LITE0 = "efficientnet-lite0"


@pytest.fixture(scope="module")
def teacher() -> Teacher:
    return build(LITE0, "seg")


@pytest.fixture(scope="module")
def crops(shipped_photos: dict[str, Path]) -> PhotoCrops:
    return PhotoCrops([shipped_photos["cat.jpg"]], 64, seed=0)


def fresh(teacher: Teacher, crops: PhotoCrops, seed: int = 0) -> EntropicStudent:
    """Untrained, but with latents that are not all 0, and able to code."""
    torch.manual_seed(seed)
    student = EntropicStudent(LITE0)
    start_from_statistics(student, teacher, crops, batches=4)
    student.eval().prepare_coder()
    return student


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("name", "channels"), [(LITE0, 24), ("resnet50", 256)])
def test_layers_and_parameters(name: str, channels: int) -> None:
    student = EntropicStudent(name)
    kinds = [type(layer).__name__ for layer in (*student.encoder, *student.decoder)]
    assert kinds == ["Conv2d", "GDN1", "Conv2d", "GDN1", "Conv2d"] * 2
    # A GDN of n channels has n + n² numbers, a convolution k²·inputs·outputs.
    encoder = [25 * 3 * 96, 96 + 96**2, 25 * 96 * 48, 48 + 48**2, 4 * 48 * 24]
    decoder = [4 * 24 * 512, 512 + 512**2, 4 * 512 * 256, 256 + 256**2, 4 * 256 * channels]
    assert [count(layer) for layer in student.encoder] == encoder
    assert [count(layer) for layer in student.decoder] == decoder
    assert count(student.encoder) == 138_672
    assert count(student.decoder) == 901_888 + 1024 * channels
    # A channel's prior: matrices 3 + 3·9 + 3, biases 4·3 + 1, factors 4·3, and three quantiles of the coder.
    assert count(student.entropy_bottleneck) == 24 * (33 + 13 + 12 + 3)
    with pytest.raises(SpecError, match="expected one of efficientnet-lite0"):
        EntropicStudent("vgg")


@pytest.mark.parametrize("size", [(5, 6), (7, 8), (64, 64), (33, 50)])
def test_the_decoded_feature_has_the_size_of_h(size: tuple[int, int], teacher: Teacher) -> None:
    student, image = EntropicStudent(LITE0), torch.rand(1, 3, *size)
    with torch.no_grad():
        y = student.analysis(image)
        assert y.shape == (1, 24, *latent_size(*size))
        assert student.synthesis(y).shape == teacher.stem(image).shape


def test_real_bytes(teacher: Teacher, crops: PhotoCrops) -> None:
    student = fresh(teacher, crops)
    image = crops.batch(3, 1)
    data, rounded = student.compress(image), student.rounded(image)
    assert len(rounded.unique()) > 24, "nothing was coded but medians"
    assert torch.equal(student.decompress(data, 64, 64), rounded)
    with torch.no_grad():
        estimated = float(factorised_bits(student.entropy_bottleneck, rounded).sum())
    assert 8 * len(data) == pytest.approx(estimated, rel=0.02, abs=64)
    # Noise instead of rounding, as in training.
    with torch.no_grad():
        noisy = float(student(image, torch.Generator().manual_seed(0)).bits)
    assert noisy == pytest.approx(estimated, rel=0.05)


def test_training_lowers_the_loss_and_leaves_the_teacher(teacher: Teacher, crops: PhotoCrops, tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = EntropicStudent(LITE0)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    lines: list[dict[str, float]] = []
    loop = LoopConfig(24, 1e-3, warmup_steps=2, log_every=4, save_every=100)
    watch = Watch(lambda line: lines.append(dict(line)))
    train_entropic_student(student, teacher, crops, StudentConfig(4.0, 2), loop, tmp_path, watch)
    assert lines[-1]["loss"] < 0.8 * lines[0]["loss"]
    assert lines[-1]["loss"] == pytest.approx(lines[-1]["bpp"] + 4.0 * lines[-1]["feature_mse"], rel=1e-4)
    assert [name for name, value in teacher.state_dict().items() if not torch.equal(value, before[name])] == []
    image = crops.batch(99, 1)
    assert torch.equal(student.decompress(student.compress(image), 64, 64), student.rounded(image)), "tables are stale"


@pytest.fixture
def folder(teacher: Teacher, crops: PhotoCrops, tmp_path: Path) -> Path:
    student_checkpoint.save(tmp_path / "es", fresh(teacher, crops), teacher, 4.0, {"steps": 0})
    return tmp_path / "es"


def edit(folder: Path, **changes: object) -> None:
    path = folder / student_checkpoint.MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("half", [False, True])
def test_a_checkpoint_is_the_same_codec(half: bool, teacher: Teacher, crops: PhotoCrops, tmp_path: Path) -> None:
    student = fresh(teacher, crops)
    digest = student_checkpoint.save(tmp_path, student, teacher, 4.0, {"steps": 0}, half=half)
    loaded = student_checkpoint.load(tmp_path / student_checkpoint.MANIFEST)
    assert (loaded.sha256, loaded.beta, loaded.provenance) == (digest, 4.0, {"steps": 0})
    assert not any(p.requires_grad for p in loaded.student.parameters())
    image = crops.batch(3, 1)
    if half:
        for name, value in student.decoder.state_dict().items():
            torch.testing.assert_close(loaded.student.decoder.state_dict()[name], value, rtol=1e-3, atol=1e-6)
    else:
        assert loaded.student.compress(image) == student.compress(image)


def test_what_was_altered_is_refused(folder: Path) -> None:
    weights = folder / "student.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(CheckpointError, match=r"student\.safetensors was altered"):
        student_checkpoint.load(folder)
    weights.write_bytes(data)
    for changes, words in (
        ({"teacher": "resnet50"}, "expected shape"),
        ({"teacher": "vgg"}, "expected one of"),
        ({"beta": "much"}, "missing or mistyped field"),
        ({"weights": {"file": "../x", "sha256": ""}}, "outside the checkpoint's folder"),
        ({"version": 2}, "expected version 1"),
        ({"format": "ptp-checkpoint"}, "this JSON is something else"),
    ):
        kept = (folder / student_checkpoint.MANIFEST).read_text()
        edit(folder, **changes)
        with pytest.raises(CheckpointError, match=words):
            student_checkpoint.load(folder)
        (folder / student_checkpoint.MANIFEST).write_text(kept)
    with pytest.raises(CheckpointError, match="no checkpoint at nowhere"):
        student_checkpoint.load(Path("nowhere"))


class _Counter:
    def __init__(self) -> None:
        self.seen: list[str] = []

    def advanced(self, photo: str, codec: str) -> None:
        self.seen.append(codec)


def test_its_row_in_an_evaluation(teacher: Teacher, crops: PhotoCrops, cat_photo: Path, tmp_path: Path) -> None:
    """Two rates on one photograph of odd sides; no session of ours takes part."""
    for beta, width in ((4.0, 4.0), (1.0, 1.0)):
        student = fresh(teacher, crops)
        with torch.no_grad():
            student.encoder[-1].weight.mul_(width)  # stands for what a larger β does
        student_checkpoint.save(tmp_path / f"{beta:g}", student, teacher, beta, {"steps": 7})
    with Image.open(cat_photo) as image:
        image.convert("RGB").resize((98, 69)).save(tmp_path / "small.png")
    codecs = entropic_students([tmp_path / "4", tmp_path / "1"], teacher)
    nobody: Any = None
    judge = Judge(teacher)
    harness = Harness(nobody, (), (), judge, measure_of("seg", judge.classes), 1, codecs)
    photo, counter = EvaluationPhoto(tmp_path / "small.png"), _Counter()
    found = harness.run([photo], 0, counter)
    assert [point.setting for point in found.points] == [Setting("Entropic Student", rate) for rate in (0, 1)]
    assert counter.seen == ["Entropic Student"] * 2
    assert "0: β 1, 7 steps" in codecs[0].settings
    assert found.points[0].bpp.value < found.points[1].bpp.value
    pixels = photo.pixels()
    h = judge.answer(pixels, (69, 98)).h
    for rate, point in enumerate(found.points):
        data = codecs[0].encode(pixels, rate)
        decoded = codecs[0].decode(data, (69, 98), rate)
        assert decoded.shape == h.shape == (1, 24, 18, 25)
        assert found.sizes[point.setting] == (len(data),)
        assert point.bpp.value == pytest.approx(8 * len(data) / (69 * 98))
        assert point.feature_error.value == pytest.approx(feature_error(h, decoded))
        assert 0 <= point.figures["teacher_miou"].value <= 1


def test_students_that_do_not_belong_are_refused(folder: Path, teacher: Teacher) -> None:
    assert entropic_students([], teacher) == ()
    with pytest.raises(errors.UsageError, match="another β each"):
        entropic_students([folder, folder], teacher)
    edit(folder, stem_sha256="0" * 64)
    with pytest.raises(errors.CheckpointError, match="imitates another teacher"):
        entropic_students([folder], teacher)
    with pytest.raises(errors.CheckpointError, match="cannot be used"):
        entropic_students([folder / "nowhere"], teacher)


def test_a_picture_that_is_too_small(folder: Path, teacher: Teacher) -> None:
    (codec,) = entropic_students([folder], teacher)
    with pytest.raises(errors.UnsupportedImageError, match="at least 5×5 pixels"):
        codec.encode(np.zeros((4, 60, 3), np.uint8), 0)
    data = codec.encode(np.zeros((5, 5, 3), np.uint8), 0)
    assert codec.decode(data, (5, 5), 0).shape == (1, 24, 2, 2)
