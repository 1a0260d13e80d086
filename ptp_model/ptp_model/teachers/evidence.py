"""What an ImageNet classifier knows about PASCAL VOC's classes, place by place.

The global mean of EfficientNet's classifier commutes with its last layer, so the classifier can be applied to every
cell of the feature map alone (Zhou et al., "Learning Deep Features for Discriminative Localization", arXiv 1512.04150).
Summed over
the ImageNet classes that are kinds of a VOC class, its probabilities say "cat" on cats although no mask of a cat was
ever
seen. With eighty labelled photographs, in which most classes occur once or twice, this is the better part of what a
small segmentation head knows.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ptp_model.teachers.classes import IMAGENET_CLASSES, VOC_CLASSES
from ptp_model.teachers.efficientnet_lite0 import Classifier

#: VOC class -> ImageNet classes that are kinds or parts of it, or (person) that are worn by it. The rest is background.
IMAGENET_OF_VOC: dict[str, tuple[range, ...]] = {
    "aeroplane": (range(404, 405), range(895, 896), range(908, 909)),  # airliner, warplane, wing
    "bicycle": (range(444, 445), range(671, 672), range(870, 871), range(880, 881)),  # tandem, mountain bike, ...
    "bird": (range(7, 25), range(80, 101), range(127, 147)),
    # canoe, catamaran, container ship, fireboat, gondola, lifeboat, liner, pirate, schooner, speedboat, trimaran, yawl
    "boat": tuple(range(n, n + 1) for n in (472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 871, 914)),
    # beer bottle, pill bottle, pop bottle, water bottle, water jug, whiskey jug, wine bottle
    "bottle": tuple(range(n, n + 1) for n in (440, 720, 737, 898, 899, 901, 907)),
    "bus": (range(654, 655), range(779, 780), range(874, 875)),  # minibus, school bus, trolleybus
    # ambulance, beach wagon, cab, car mirror, car wheel, convertible, grille, jeep, limousine, minivan, Model T,
    # pickup, racer, sports car
    "car": tuple(range(n, n + 1) for n in (407, 436, 468, 475, 479, 511, 581, 609, 627, 656, 661, 717, 751, 817)),
    "cat": (range(281, 286),),
    "chair": tuple(range(n, n + 1) for n in (423, 559, 765, 857)),  # barber, folding, rocking chair, throne
    "cow": (range(345, 347),),  # ox, water buffalo
    # dining table, hot pot, pizza, plate, restaurant
    "diningtable": tuple(range(n, n + 1) for n in (532, 762, 923, 926, 963)),
    "dog": (range(151, 269),),
    "horse": (range(339, 340), range(603, 604)),  # sorrel, horse cart
    "motorbike": (range(665, 666), range(670, 671)),  # moped, motor scooter
    # abaya, academic gown, bikini, cardigan, gown, jean, jersey, kimono, lab coat, maillots, military uniform, suit,
    # sweatshirt, swimming trunks, trench coat, wig, ballplayer, groom, scuba diver
    "person": tuple(
        range(n, n + 1)
        for n in (399, 400, 445, 474, 578, 608, 610, 614, 617, 638, 639, 652, 834, 841, 842, 869, 903, 981, 982, 983)
    ),
    "pottedplant": (range(738, 739),),  # pot
    "sheep": (range(348, 350),),  # ram, bighorn
    "sofa": (range(831, 832),),  # studio couch
    # bullet train, electric locomotive, freight car, passenger car, steam locomotive, streetcar
    "train": tuple(range(n, n + 1) for n in (466, 547, 565, 705, 820, 829)),
    "tvmonitor": (range(664, 665), range(782, 783), range(851, 852)),  # monitor, screen, television
}


def group_matrix() -> torch.Tensor:
    """float32 [21, 1000], one 1 in every column: which VOC class an ImageNet class counts for."""
    matrix = torch.zeros(len(VOC_CLASSES), len(IMAGENET_CLASSES))
    for name, ranges in IMAGENET_OF_VOC.items():
        for chosen in ranges:
            matrix[VOC_CLASSES.index(name), chosen.start : chosen.stop] = 1.0
    matrix[0] = 1.0 - matrix[1:].sum(0)
    return matrix


class Evidence(nn.Module):
    """The frozen ImageNet classifier, applied to every cell and summed into VOC's classes."""

    groups: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.classifier = Classifier()
        self.register_buffer("groups", group_matrix(), persistent=False)

    def forward(self, c5: torch.Tensor) -> torch.Tensor:
        """c5 [N, 320, h, w] to probabilities [N, 21, h, w] that sum to 1 in every cell."""
        height, width = c5.shape[2:]
        # Cells in rows, classes in the last axis: over an axis in front ONNX Runtime's softmax is 80 times slower.
        cells = self.classifier.conv(c5).permute(0, 2, 3, 1).flatten(1, 2)
        probabilities: torch.Tensor = self.classifier.fc(cells).softmax(2)
        summed = functional.linear(probabilities, self.groups).transpose(1, 2)
        return summed.reshape(*summed.shape[:2], height, width)


#: Side of the window, in cells, over which evidence is also averaged.
WINDOW = 7


class EvidenceFusion(nn.Module):
    """Turns evidence into a term of the logits: slope * log(1 + probability / floor), one slope per class.

    A cell inside a large object shows only texture, so its own evidence is mixed with that of its surroundings and that
    of the whole picture, in proportions that are trained. A class's floor grows with the number of its ImageNet
    classes, because a classifier that has no idea still gives 118 kinds of dog an eighth of its probability.
    """

    floor: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.mixture = nn.Parameter(torch.zeros(3))
        self.slope = nn.Parameter(torch.ones(len(VOC_CLASSES), 1, 1))
        floor = 0.01 + 0.5 * group_matrix().mean(1)
        self.register_buffer("floor", floor[:, None, None], persistent=False)

    def forward(self, evidence: torch.Tensor) -> torch.Tensor:
        """Probabilities [N, 21, h, w] to terms of the logits, of the same shape."""
        own, near, whole = self.mixture.softmax(0).unbind(0)
        around = functional.avg_pool2d(evidence, WINDOW, stride=1, padding=WINDOW // 2, count_include_pad=False)
        mixed = own * evidence + near * around + whole * evidence.mean((2, 3), keepdim=True)
        return self.slope * (1.0 + mixed / self.floor).log()
