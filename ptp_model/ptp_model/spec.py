"""What a codec is made of, as one frozen value: :class:`ModelSpec`, and the presets.

Sizes of ``full`` follow Shen & Liu, "Parallel Task-Prompts ICM", section 3, and its references; ``tiny``, ``small``
and ``medium`` keep the topology at smaller widths.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ptp_model.errors import SpecError

TRANSFORMS = ("cnn", "swin", "stem")
CONTEXTS = ("checkerboard", "zigzag")

#: Task name -> task id in the stream's header. Id 0 is the universal codec without prompts (the human view).
TASK_IDS = {"view": 0, "seg": 1, "det": 2, "cls": 3}
#: The stream's header has one byte for the number of the rate.
MAX_RATES = 255


@dataclass(frozen=True)
class AttentionSpec:
    """Window attention module: heads, window side and shift, in latent positions."""

    heads: int
    window: int
    shift: int


@dataclass(frozen=True)
class SwinSpec:
    """The Swin transform: widths at strides 2, 4, 8, 16, blocks and heads per stage, window side."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    heads: tuple[int, int, int, int]
    decoder_depths: tuple[int, int, int]
    window: int = 4


@dataclass(frozen=True)
class CheckerboardSpec:
    """Channel groups, widths of the channel context and of the aggregation networks."""

    groups: tuple[int, ...]
    channel_context: tuple[int, int]
    aggregation: tuple[int, int]


@dataclass(frozen=True)
class ZigzagSpec:
    """Channel slices, how many decoded chunks a chunk sees, widths of the parameter networks."""

    slices: int
    window: int
    widths: tuple[int, int, int, int]


@dataclass(frozen=True)
class LrcpSpec:
    """Latent residual cross-attention prediction: width, heads, window, depths of the two Swin groups."""

    width: int
    heads: int
    window: int
    depths: tuple[int, int]


@dataclass(frozen=True)
class ModelSpec:
    """Everything needed to build the modules; two equal specs build identical parameter shapes.

    Attributes:
        preset: name this spec started from.
        transform: ``cnn`` or ``swin``: the backbone of analysis and synthesis; ``stem``: cnn, with an analysis that
            begins with the teacher's own frozen first layers.
        context: ``checkerboard`` or ``zigzag``: mode of the spatial-channel context model.
        teacher: name of the teacher family whose second-stage feature is coded.
        N: channels inside the transforms from stride 8 on.
        early_width: channels inside the CNN analysis at strides 2 and 4, where a channel costs most.
        M: channels of the latent y (stride 16).
        Z: channels of the hyper-latent z (stride 64).
        F: channels of the feature h (stride 4).
        image_mean, image_std: per RGB channel, for images in 0..1; the teacher's preprocessing.
        skip_index: scale indices below it are not coded.
        rates: how many rates one set of weights serves, each with a gain for every channel of y; 1: one rate, no gains.
        default_rate: the rate that an encoder takes unless asked for another; None: the middle one.
        lead_multiple: the image is padded at the top and left to a multiple of this before anything else. 4 for a
            teacher with TensorFlow's SAME padding: its grid of features is tied to the far corner of the image, and
            shifts by up to three pixels with the image's size; 1 for a teacher whose grid starts at the first pixel.
    """

    preset: str
    transform: str
    context: str
    teacher: str
    N: int
    early_width: int
    M: int
    Z: int
    F: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    hyper_analysis: tuple[tuple[int, int], ...]
    hyper_synthesis: tuple[int, int, int, int]
    deep_attention: AttentionSpec
    analysis_attention: AttentionSpec
    synthesis_attention: AttentionSpec
    extractor: tuple[int, int]
    prompt_width: int
    swin: SwinSpec
    checkerboard: CheckerboardSpec
    zigzag: ZigzagSpec
    lrcp: LrcpSpec
    lead_multiple: int = 1
    skip_index: int = 2
    rates: int = 1
    default_rate: int | None = None

    def __post_init__(self) -> None:
        if self.transform not in TRANSFORMS:
            raise SpecError(f"transform is {self.transform!r}; expected one of {TRANSFORMS}")
        if self.context not in CONTEXTS:
            raise SpecError(f"context is {self.context!r}; expected one of {CONTEXTS}")
        if sum(self.checkerboard.groups) != self.M:
            raise SpecError(f"checkerboard groups {self.checkerboard.groups} do not sum to M = {self.M}")
        if self.M % self.zigzag.slices:
            raise SpecError(f"M = {self.M} is not a multiple of {self.zigzag.slices} zigzag slices")
        if self.hyper_analysis[-1][0] != self.Z:
            raise SpecError(f"hyper analysis ends in {self.hyper_analysis[-1][0]} channels; expected Z = {self.Z}")
        if math.prod(stride for _, stride in self.hyper_analysis) != 4:
            raise SpecError("hyper analysis must reduce by 4 in all")
        if self.swin.widths[-1] != self.M:
            raise SpecError(f"swin ends in {self.swin.widths[-1]} channels; expected M = {self.M}")
        if not 1 <= self.rates <= MAX_RATES:
            raise SpecError(f"rates is {self.rates}; expected 1 to {MAX_RATES}")
        if self.default_rate is not None and not 0 <= self.default_rate < self.rates:
            raise SpecError(f"default_rate is {self.default_rate}; expected 0 to {self.rates - 1}, or none")

    @property
    def usual_rate(self) -> int:
        """The rate that an encoder takes unless asked for another."""
        return self.rates // 2 if self.default_rate is None else self.default_rate

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-ready dictionary."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelSpec:
        """Inverse of :meth:`to_dict`; unknown or missing keys raise :class:`SpecError`."""
        nested = {
            "deep_attention": AttentionSpec,
            "analysis_attention": AttentionSpec,
            "synthesis_attention": AttentionSpec,
            "swin": SwinSpec,
            "checkerboard": CheckerboardSpec,
            "zigzag": ZigzagSpec,
            "lrcp": LrcpSpec,
        }
        if not isinstance(data, dict):
            raise SpecError(f"a spec is a JSON object; got {type(data).__name__}")
        known = {field.name for field in dataclasses.fields(cls)}
        if unknown := sorted(set(data) - known):
            raise SpecError(f"unknown fields in the spec: {', '.join(unknown)}; written by a newer version?")
        try:
            values = {
                key: nested[key](**_tuples(value)) if key in nested else _tuple(value) for key, value in data.items()
            }
            return cls(**values)
        except TypeError as error:
            raise SpecError(f"the spec lacks or misnames a field: {error}") from error


def _tuple(value: Any) -> Any:
    return tuple(_tuple(item) for item in value) if isinstance(value, list | tuple) else value


def _tuples(mapping: dict[str, Any]) -> dict[str, Any]:
    return {key: _tuple(value) for key, value in mapping.items()}


@dataclass(frozen=True)
class _Teacher:
    channels: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    lead_multiple: int


#: Channels of the second-stage feature and the preprocessing (images in 0..1) of each teacher family.
TEACHERS = {
    "efficientnet-lite0": _Teacher(24, (127 / 255,) * 3, (128 / 255,) * 3, 4),
    "resnet50": _Teacher(256, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 1),
}

_FULL: dict[str, Any] = {
    "N": 192,
    "early_width": 192,
    "M": 384,
    "Z": 192,
    "hyper_analysis": ((384, 1), (336, 1), (288, 2), (240, 1), (192, 2)),
    "hyper_synthesis": (240, 288, 336, 384),
    "deep_attention": AttentionSpec(8, 4, 2),
    "analysis_attention": AttentionSpec(8, 8, 4),
    "synthesis_attention": AttentionSpec(8, 8, 4),
    "extractor": (192, 96),
    "prompt_width": 96,
    "swin": SwinSpec((48, 96, 192, 384), (2, 2, 6, 2), (3, 6, 12, 24), (2, 6, 2)),
    "checkerboard": CheckerboardSpec((16, 16, 32, 64, 256), (224, 128), (640, 512)),
    "zigzag": ZigzagSpec(6, 12, (224, 176, 128, 64)),
    "lrcp": LrcpSpec(64, 4, 4, (2, 6)),
}
_MEDIUM: dict[str, Any] = {
    "N": 128,
    "early_width": 128,
    "M": 192,
    "Z": 128,
    "hyper_analysis": ((192, 1), (176, 1), (160, 2), (144, 1), (128, 2)),
    "hyper_synthesis": (144, 160, 176, 192),
    "deep_attention": AttentionSpec(8, 4, 2),
    "analysis_attention": AttentionSpec(8, 8, 4),
    "synthesis_attention": AttentionSpec(8, 8, 4),
    "extractor": (96, 48),
    "prompt_width": 64,
    "swin": SwinSpec((24, 48, 96, 192), (2, 2, 4, 2), (2, 4, 8, 8), (2, 4, 2)),
    "checkerboard": CheckerboardSpec((16, 16, 32, 32, 96), (112, 64), (320, 256)),
    "zigzag": ZigzagSpec(6, 12, (112, 88, 64, 32)),
    "lrcp": LrcpSpec(64, 4, 4, (2, 4)),
}
# A 4×4 patch of the small teacher's feature has 384 numbers, of which 48 components hold 55 % of the energy and 128
# hold 83 %: with tiny's M = 48 the feature error stays near 0.45 at any rate. N = 96 keeps all of a 2×2 patch.
_SMALL: dict[str, Any] = {
    "N": 96,
    "early_width": 32,
    "M": 128,
    "Z": 64,
    "hyper_analysis": ((80, 1), (80, 2), (64, 1), (64, 2)),
    "hyper_synthesis": (64, 64, 80, 96),
    "deep_attention": AttentionSpec(4, 4, 2),
    "analysis_attention": AttentionSpec(4, 4, 2),
    "synthesis_attention": AttentionSpec(4, 4, 2),
    "extractor": (32, 16),
    "prompt_width": 32,
    "swin": SwinSpec((16, 32, 64, 128), (1, 1, 2, 2), (2, 4, 4, 8), (2, 2, 2)),
    "checkerboard": CheckerboardSpec((16, 16, 32, 64), (48, 48), (112, 96)),
    "zigzag": ZigzagSpec(4, 8, (96, 64, 48, 32)),
    "lrcp": LrcpSpec(32, 4, 4, (1, 1)),
}
_TINY: dict[str, Any] = {
    "N": 32,
    "early_width": 32,
    "M": 48,
    "Z": 32,
    "hyper_analysis": ((40, 1), (40, 2), (32, 1), (32, 2)),
    "hyper_synthesis": (32, 40, 40, 48),
    "deep_attention": AttentionSpec(4, 4, 2),
    "analysis_attention": AttentionSpec(4, 4, 2),
    "synthesis_attention": AttentionSpec(4, 4, 2),
    "extractor": (32, 16),
    "prompt_width": 16,
    "swin": SwinSpec((12, 24, 32, 48), (1, 1, 2, 1), (2, 4, 4, 4), (1, 2, 1)),
    "checkerboard": CheckerboardSpec((8, 8, 32), (28, 16), (80, 64)),
    "zigzag": ZigzagSpec(3, 6, (64, 48, 32, 16)),
    "lrcp": LrcpSpec(16, 4, 4, (1, 1)),
}
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "tiny": ("efficientnet-lite0", _TINY),
    "small": ("efficientnet-lite0", _SMALL),
    "medium": ("resnet50", _MEDIUM),
    "full": ("resnet50", _FULL),
}


def preset(
    name: str,
    *,
    transform: str = "cnn",
    context: str = "checkerboard",
    teacher: str | None = None,
    rates: int = 1,
) -> ModelSpec:
    """The named preset (``tiny``, ``small``, ``medium``, ``full``).

    Args:
        name: preset.
        transform: ``cnn``, ``swin`` or ``stem``.
        context: ``checkerboard`` or ``zigzag``.
        teacher: key of :data:`TEACHERS`; the preset's own if not given.
        rates: how many rates one set of weights serves.

    Raises:
        SpecError: unknown preset or teacher.
    """
    if name not in PRESETS:
        raise SpecError(f"preset is {name!r}; expected one of {', '.join(PRESETS)}")
    default_teacher, sizes = PRESETS[name]
    chosen = teacher or default_teacher
    if chosen not in TEACHERS:
        raise SpecError(f"teacher is {chosen!r}; expected one of {', '.join(TEACHERS)}")
    feature = TEACHERS[chosen]
    return ModelSpec(
        preset=name,
        transform=transform,
        context=context,
        teacher=chosen,
        F=feature.channels,
        image_mean=feature.mean,
        image_std=feature.std,
        lead_multiple=feature.lead_multiple,
        rates=rates,
        **sizes,
    )
