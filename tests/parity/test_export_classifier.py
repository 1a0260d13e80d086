"""The classifier's head: its graph against torch, and the runtime's preparation of a photo against the usual one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from ptp_export.bundle.task_info import declared_resize, task_info
from ptp_export.graphs.head import head_graph
from ptp_export.onnx_from_graph import onnx_from_graph
from ptp_export.onnx_graph import OnnxGraph
from ptp_export.sizes import Size
from ptp_model.codec import FeatureCodec
from ptp_model.spec import preset
from ptp_model.teachers import Teacher, build
from ptp_runtime.bicubic import centre_crop_pixels
from ptp_runtime.manifest import CentreCrop, ClassificationParameters
from ptp_runtime.tasks.classification import classification_from_logits

CROP = CentreCrop(shorter_side=256, crop=224)
CATS = {"tabby", "tiger cat", "Egyptian cat"}


@pytest.fixture(scope="module")
def classifier() -> Teacher:
    return build("efficientnet-lite0", "cls")


@pytest.fixture(scope="module")
def image(cat_photo: Path) -> torch.Tensor:
    """The cat as the runtime gives it to the codec, without its padding: float32 [1, 3, 224, 224] in 0..1."""
    with Image.open(cat_photo) as photo:
        pixels = np.asarray(photo.convert("RGB"))
    return torch.from_numpy(centre_crop_pixels(pixels, CROP)).permute(2, 0, 1)[None] / 255


@pytest.mark.parametrize("static", [Size(224, 224), None])
def test_the_exported_classifier_is_the_classifier(
    static: Size | None, classifier: Teacher, image: torch.Tensor
) -> None:
    exported: OnnxGraph = onnx_from_graph(head_graph(FeatureCodec(preset("tiny")), "cls", classifier), static)
    assert exported.inputs[0].dims == ((1, 24, 56, 56) if static else (1, 24, "h4", "w4"))
    assert exported.outputs[0].dims == (1, 1000)
    session = onnxruntime.InferenceSession(exported.data, providers=["CPUExecutionProvider"])
    with torch.no_grad():
        h = classifier.stem(image)
        expected = classifier.tail(h)
    assert isinstance(expected, torch.Tensor)
    (found,) = session.run(["logits"], {"h": h.numpy()})
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-3, atol=1e-3)
    answer = classification_from_logits(found[0], ClassificationParameters(), classifier.spec.classes)
    np.testing.assert_allclose(answer.probabilities, expected.softmax(1)[0].numpy(), atol=1e-4)
    assert answer.labels.tolist() == expected.topk(5).indices[0].tolist()
    assert set(answer.names[:3]) == CATS


def test_the_teacher_declares_what_the_manifest_says(classifier: Teacher) -> None:
    assert declared_resize(classifier) == CROP
    info = task_info("cls", classifier)
    assert (info.id, info.parameters, len(info.classes)) == (3, ClassificationParameters(top=5), 1000)
    assert info.classes[281] == "tabby"


def test_the_photo_is_prepared_as_torch_does(cat_photo: Path) -> None:
    """torch's own bicubic filter with antialiasing, on float pixels: 2e-3 of 255 levels."""
    with Image.open(cat_photo) as photo:
        pixels = np.asarray(photo.convert("RGB"))
    height, width = pixels.shape[:2]
    sides = (256 * height // min(height, width), 256 * width // min(height, width))
    whole = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
    scaled = torch.nn.functional.interpolate(whole, sides, mode="bicubic", antialias=True, align_corners=False)
    top, left = (round((side - 224) / 2) for side in sides)
    expected = scaled[0, :, top : top + 224, left : left + 224].permute(1, 2, 0).clamp(0, 255).numpy()
    assert np.abs(centre_crop_pixels(pixels, CROP) - expected).max() < 2e-3


def test_pillows_roundings_do_not_change_the_answer(classifier: Teacher, image: torch.Tensor, cat_photo: Path) -> None:
    """The published preparation gives 8 bits; ours does not round: the probabilities move by less than 0.02."""
    with Image.open(cat_photo) as photo:
        size = tuple(256 * side // min(photo.size) for side in photo.size)
        usual = np.asarray(photo.convert("RGB").resize((size[0], size[1]), Image.Resampling.BICUBIC), np.float32)
    top, left = (round((side - 224) / 2) for side in usual.shape[:2])
    rounded = torch.from_numpy(usual[top : top + 224, left : left + 224]).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        ours, theirs = (classifier(x).softmax(1) for x in (image, rounded))
    assert float((ours - theirs).abs().max()) < 0.02
