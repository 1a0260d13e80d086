"""torchvision's networks, cut in two: the halves together are the whole, and their state dicts load."""

from __future__ import annotations

import ptp_model  # noqa: F401  # isort: skip  # makes torchvision importable beside a torch it was not built for

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.detection import retinanet_resnet50_fpn
from torchvision.models.detection.image_list import ImageList
from torchvision.models.segmentation import deeplabv3_resnet50
from torchvision.ops.misc import FrozenBatchNorm2d

from ptp_model import teachers
from ptp_model.errors import WeightsError
from ptp_model.teachers import boxes
from ptp_model.teachers.spec import DetectionOutput
from ptp_model.teachers.torchvision_teachers import RetinaNetResNet50

MEAN = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)


def _randomise_statistics(network: torch.nn.Module, seed: int) -> None:
    """Batch statistics that a freshly built network does not have, small enough to keep fifty layers finite."""
    generator = torch.Generator().manual_seed(seed)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
        elif name.endswith("running_var"):
            buffer.copy_(1.0 + torch.rand(buffer.shape, generator=generator))


@pytest.fixture(scope="module")
def deeplab() -> Any:
    torch.manual_seed(1)
    network = deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=21, aux_loss=True).eval()
    _randomise_statistics(network, 1)
    return network


@pytest.fixture(scope="module")
def retinanet() -> Any:
    torch.manual_seed(2)
    network = retinanet_resnet50_fpn(weights=None, weights_backbone=None, num_classes=91).eval()
    _randomise_statistics(network, 2)
    return network


def _image(height: int, width: int) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_deeplab_halves_are_torchvisions_whole(deeplab: Any, tmp_path: Path) -> None:
    path = tmp_path / "deeplab.pth"
    torch.save(deeplab.state_dict(), path)
    teacher = teachers.build("resnet50", "seg", path)
    image = _image(97, 130)
    with torch.no_grad():
        h = teacher.stem(image)
        logits = teacher.tail(h)
        expected = deeplab((image - MEAN) / STD)["out"]
    assert isinstance(logits, torch.Tensor)
    assert h.shape == (1, 256, 25, 33)
    assert float(h.min()) >= 0.0
    torch.testing.assert_close(teachers.upsample_logits(logits, (97, 130)), expected, rtol=1e-4, atol=1e-4)


def test_retinanet_halves_are_torchvisions_whole(retinanet: Any, tmp_path: Path) -> None:
    path = tmp_path / "retinanet.safetensors"
    save_file(retinanet.state_dict(), path)
    teacher = RetinaNetResNet50(path, batch_norm_epsilon=1e-5)
    image = _image(96, 160)
    with torch.no_grad():
        h = teacher.stem(image)
        logits, deltas = teacher.tail(h)
        normalised = (image - MEAN) / STD
        maps = list(retinanet.backbone(normalised).values())
        expected = retinanet.head(maps)
        reference = retinanet.anchor_generator(ImageList(normalised, [(96, 160)]), maps)[0]
    assert h.shape == (1, 256, 24, 40)
    torch.testing.assert_close(logits, expected["cls_logits"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(deltas, expected["bbox_regression"], rtol=1e-4, atol=1e-4)
    output = teacher.spec.output
    assert isinstance(output, DetectionOutput)
    assert torch.equal(torch.cat(boxes.anchors(output, 96, 160)), reference)


def test_spec_matches_what_torchvision_does_around_the_network(retinanet: Any) -> None:
    spec = teachers.build("resnet50", "det").spec
    output = spec.output
    assert isinstance(output, DetectionOutput)
    assert spec.resize is not None
    assert (spec.resize.short_side, spec.resize.max_long_side) == (
        retinanet.transform.min_size[0],
        retinanet.transform.max_size,
    )
    assert list(spec.mean) == retinanet.transform.image_mean
    assert list(spec.std) == retinanet.transform.image_std
    assert output.score_threshold == retinanet.score_thresh
    assert output.iou_threshold == retinanet.nms_thresh
    assert output.candidates_per_level == retinanet.topk_candidates
    assert output.max_detections == retinanet.detections_per_img
    assert output.max_log_scale == pytest.approx(retinanet.box_coder.bbox_xform_clip)
    assert output.sizes == retinanet.anchor_generator.sizes
    assert (output.aspect_ratios,) * 5 == retinanet.anchor_generator.aspect_ratios


def test_published_detectors_use_no_epsilon() -> None:
    layers = [layer for layer in teachers.build("resnet50", "det").modules() if isinstance(layer, FrozenBatchNorm2d)]
    assert len(layers) == 53
    assert {layer.eps for layer in layers} == {0.0}


def test_a_state_dict_without_the_auxiliary_classifier_loads_too(deeplab: Any) -> None:
    state = {name: value for name, value in deeplab.state_dict().items() if not name.startswith("aux_classifier.")}
    with_auxiliary, without = (teachers.build("resnet50", "seg", weights) for weights in (deeplab.state_dict(), state))
    image = _image(33, 40)
    with torch.no_grad():
        assert torch.equal(with_auxiliary(image), without(image))


def test_the_shipped_part_is_everything(deeplab: Any) -> None:
    first = teachers.build("resnet50", "seg", deeplab.state_dict())
    state = first.head_state()
    assert not any(name.startswith("aux_classifier") for name in state)
    second = teachers.build("resnet50", "seg")
    second.load_head_state(state)
    image = _image(33, 40)
    with torch.no_grad():
        assert not torch.equal(teachers.build("resnet50", "seg").stem(image), second.stem(image))
        torch.testing.assert_close(second.stem(image), first.stem(image), rtol=1e-2, atol=1e-2)  # FP16 weights


@pytest.mark.parametrize("missing", ["backbone.layer3.2.conv2.weight", "aux_classifier.0.weight"])
def test_a_missing_tensor_is_refused(deeplab: Any, missing: str) -> None:
    state = {name: value for name, value in deeplab.state_dict().items() if name != missing}
    with pytest.raises(WeightsError, match="1 missing"):
        teachers.build("resnet50", "seg", state)


def test_weights_of_the_other_network_are_refused(deeplab: Any) -> None:
    with pytest.raises(WeightsError, match=r"RetinaNet-ResNet50-FPN: expected exactly \d+ tensors"):
        teachers.build("resnet50", "det", deeplab.state_dict())


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"\x80\x02."])
def test_files_that_are_no_weights_are_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="expected a state dict of tensors"):
        teachers.build("resnet50", "seg", path)


def test_a_file_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"backbone.conv1.weight": Path("/")}, path)  # a pathlib object needs unpickling
    with pytest.raises(WeightsError, match="other objects"):
        teachers.build("resnet50", "seg", path)


def test_numbers_for_tensors_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"epoch": 3}, path)
    with pytest.raises(WeightsError, match="expected names with tensors"):
        teachers.build("resnet50", "seg", path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_missing_file_is_refused(tmp_path: Path, suffix: str) -> None:
    with pytest.raises(WeightsError, match="cannot read gone"):
        teachers.build("resnet50", "seg", tmp_path / f"gone{suffix}")
