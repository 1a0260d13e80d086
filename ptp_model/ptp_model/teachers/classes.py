"""Names of the classes, in the order of the heads' outputs; torchvision publishes them with its weights."""

from __future__ import annotations

from torchvision.models import EfficientNet_B0_Weights
from torchvision.models.detection import RetinaNet_ResNet50_FPN_Weights
from torchvision.models.segmentation import DeepLabV3_ResNet50_Weights


def _names(meta: dict[str, object], count: int) -> tuple[str, ...]:
    categories = meta["categories"]
    if not isinstance(categories, list) or len(categories) != count:
        raise RuntimeError(
            f"torchvision: expected a list of {count} class names, got {categories!r}; install torchvision 0.28"
        )
    return tuple(str(name) for name in categories)


#: 21 classes of PASCAL VOC; 0 is the background.
VOC_CLASSES = _names(DeepLabV3_ResNet50_Weights.DEFAULT.meta, 21)

#: Index = COCO category id; 0 is the background and ten ids that COCO never used are called ``N/A``.
COCO_CLASSES = _names(RetinaNet_ResNet50_FPN_Weights.DEFAULT.meta, 91)

#: 1 000 classes of ImageNet (ILSVRC 2012).
IMAGENET_CLASSES = _names(EfficientNet_B0_Weights.DEFAULT.meta, 1000)
