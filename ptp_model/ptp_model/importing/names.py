"""What others call the parts of a codec: the one table of names.

A name goes through four steps: wrappers are taken off (:data:`WRAPPERS`), the user's own renames are applied, the part
is found (codec, a task's prompts, a task's head), and :data:`RENAMES` turns what is left into our spelling.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ptp_model.spec import TASK_IDS

#: Tasks that have prompts and a head.
TASKS = tuple(name for name, number in TASK_IDS.items() if number)

#: What training code puts in front of all names: DataParallel, torch.compile, a module around the codec.
WRAPPERS = ("module.", "_orig_mod.", "model.", "net.", "codec.")

_ANY_TASK = "|".join(TASKS)
_PROMPT = r"p_(?:ga|ha|hmu|hsigma|gs|g_a|h_a|g_s|h_mu|h_sigma|h_mean_s|h_scale_s)\."

#: Pattern → our spelling, all applied in this order. Names of heads begin with ``head.<task>.`` here, names of prompts
#: with ``prompts.<task>.``.
RENAMES: tuple[tuple[str, str], ...] = (
    # CompressAI: the two halves of the hyper-synthesis.
    (r"^(?:h_mean_s|h_s_mean|h_s\.mean|h_mu_s|h_mean)\.", "h_mu."),
    (r"^(?:h_scale_s|h_s_scale|h_s\.scale|h_sigma_s|h_scale)\.", "h_sigma."),
    # CompressAI: three generations of the factorised prior.
    (r"^entropy_bottleneck\._matri(?:x|ces\.)(\d)$", r"entropy_bottleneck.matrices.\1"),
    (r"^entropy_bottleneck\._bias(?:es\.)?(\d)$", r"entropy_bottleneck.biases.\1"),
    (r"^entropy_bottleneck\._factor(?:s\.)?(\d)$", r"entropy_bottleneck.factors.\1"),
    # The window attention module as its authors published it (arXiv 2203.08450); ``qkv`` is cut by SPLITS.
    (r"^(g_[as]\.\d)\.conv_a\.(\d)\.conv\.", r"\1.trunk.\2.body."),
    (r"^(g_[as]\.\d)\.conv_b\.0\.attn\.relative_position_bias_table$", r"\1.attention.bias"),
    (r"^(g_[as]\.\d)\.conv_b\.0\.attn\.proj\.", r"\1.attention.projection."),
    (r"^(g_[as]\.\d)\.conv_b\.0\.attn\.qkv\.", r"\1.attention.qkv."),
    (r"^(g_[as]\.\d)\.conv_b\.1\.conv\.", r"\1.gate.0.body."),
    (r"^(g_[as]\.\d)\.conv_b\.2\.conv\.", r"\1.gate.1.body."),
    (r"^(g_[as]\.\d)\.conv_b\.3\.conv\.", r"\1.gate.2.body."),
    (r"^(g_[as]\.\d)\.conv_b\.4\.", r"\1.gate.3."),
    # Prompts, spelt like the parts that they run beside.
    (r"^(prompts\.\w+)\.p_g_a\.", r"\1.p_ga."),
    (r"^(prompts\.\w+)\.p_h_a\.", r"\1.p_ha."),
    (r"^(prompts\.\w+)\.p_(?:h_mean_s|h_mu)\.", r"\1.p_hmu."),
    (r"^(prompts\.\w+)\.p_(?:h_scale_s|h_sigma)\.", r"\1.p_hsigma."),
    (r"^(prompts\.\w+)\.p_g_s\.", r"\1.p_gs."),
    # torchvision's detectors before 0.13.
    (r"^(head\.det\.(?:backbone\.)?fpn\.(?:inner|layer)_blocks\.\d)\.(weight|bias)$", r"\1.0.\2"),
    (r"^(head\.det\.head\.\w+_head\.conv)\.0\.(weight|bias)$", r"\1.0.0.\2"),
    (r"^(head\.det\.head\.\w+_head\.conv)\.2\.(weight|bias)$", r"\1.1.0.\2"),
    (r"^(head\.det\.head\.\w+_head\.conv)\.4\.(weight|bias)$", r"\1.2.0.\2"),
    (r"^(head\.det\.head\.\w+_head\.conv)\.6\.(weight|bias)$", r"\1.3.0.\2"),
)

#: One tensor of theirs → several of ours, cut along the first axis in these shares.
SPLITS: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = (
    (r"^(.*\.attention)\.qkv\.(weight|bias)$", ((r"\1.query.\2", 1), (r"\1.key_value.\2", 2))),
)

#: Names that are not needed here, and why; they are reported, never refused.
PASSED_OVER: tuple[tuple[str, str], ...] = (
    (r"^entropy_bottleneck\.(?:_quantized_cdf|_offset|_cdf_length|_medians)$", "table of CompressAI's own coder"),
    (r"^gaussian(?:_conditional)?\.", "table of CompressAI's own coder"),
    (r"\.(?:relative_position_index|attn_mask)$", "follows from the window's size"),
    (r"^head\.\w+\.aux_classifier\.", "used in training only"),
    (r"\.num_batches_tracked$", "counter that no evaluation reads"),
)

#: Tensors of ours that a source may lack: constants of the layers, and what nothing here reads.
CONSTANTS: tuple[str, ...] = (
    r"_reparam\.(?:pedestal|lower_bound\.bound)$",
    r"^entropy_bottleneck\.(?:target|quantiles|likelihood_lower_bound\.bound)$",
    r"\.num_batches_tracked$",
)

_PART_OF_TASK = re.compile(rf"(prompts?|task_prompts|heads?|teachers?|tails?)\.({_ANY_TASK})\.")
_BARE_PROMPT = re.compile(rf"(?:prompts?\.)?(?={_PROMPT})")
_BARE_TEACHER = re.compile(r"(?:heads?|teachers?|tails?|backbone|classifier|aux_classifier)\.")
# torchvision's RetinaNet has a part that is itself called head.
_HEAD_WRAPPER = re.compile(r"(?:heads?|teachers?|tails?|network)\.(?!classification_head\.|regression_head\.)")


@dataclass(frozen=True)
class Prefixes:
    """The user's own renames: whole components at the front of a name, such as ``encoder`` → ``g_a``."""

    renames: Mapping[str, str]

    def applied(self, name: str) -> tuple[str, str]:
        """The name with the longest prefix that fits replaced, and that prefix; ``""`` where none fits."""
        for old in sorted(self.renames, key=len, reverse=True):
            if name == old or name.startswith(old + "."):
                new, rest = self.renames[old], name[len(old) :].lstrip(".")
                return ".".join(part for part in (new, rest) if part), old
        return name, ""


NO_PREFIXES = Prefixes({})


@dataclass(frozen=True)
class Place:
    """Where the tensors of a file belong.

    Attributes:
        task: whose prompts or head they are; ``""``: the names say so themselves.
        kind: ``codec``, ``prompts`` or ``head``: what a name without any mark is.
    """

    task: str = ""
    kind: str = "codec"


def unwrapped(name: str) -> str:
    """The name without :data:`WRAPPERS`, however many and in whatever order."""
    stripped = True
    while stripped:
        stripped = False
        for wrapper in WRAPPERS:
            if name.startswith(wrapper):
                name, stripped = name.removeprefix(wrapper), True
    return name


def spelt(name: str, place: Place, prefixes: Prefixes = NO_PREFIXES) -> str:
    """Our name of a tensor: of the codec as it stands, else ``prompts.<task>.…`` or ``head.<task>.…``."""
    name = _placed(prefixes.applied(unwrapped(name))[0], place)
    for pattern, ours in RENAMES:
        name = re.sub(pattern, ours, name)
    return name


def cut(name: str, tensor: Tensor) -> dict[str, Tensor]:
    """Tensors of ours that one of theirs holds: itself under its name, unless :data:`SPLITS` says otherwise."""
    for pattern, shares in SPLITS:
        total = sum(share for _, share in shares)
        if re.match(pattern, name) and tensor.dim() and tensor.shape[0] % total == 0:
            unit = tensor.shape[0] // total
            pieces = torch.split(tensor, [unit * share for _, share in shares])
            return {re.sub(pattern, ours, name): piece for (ours, _), piece in zip(shares, pieces, strict=True)}
    return {name: tensor}


def why_passed_over(name: str) -> str:
    """Why a tensor with this name of ours is not needed; ``""`` where it is not known."""
    return next((why for pattern, why in PASSED_OVER if re.search(pattern, name)), "")


def is_constant(name: str) -> bool:
    """Whether a source may lack the tensor."""
    return any(re.search(pattern, name) for pattern in CONSTANTS)


def part_of(name: str) -> str:
    """``codec``, ``prompts.<task>`` or ``head.<task>``, of a name of ours."""
    first, _, rest = name.partition(".")
    task = rest.partition(".")[0]
    return f"{first}.{task}" if first in ("prompts", "head") and task in TASKS else "codec"


def task_of(name: str) -> str:
    """The task that a name of ours belongs to; ``""``: the codec's."""
    return part_of(name).partition(".")[2]


def _placed(name: str, place: Place) -> str:
    if known := _PART_OF_TASK.match(name):
        rest = unwrapped(name[known.end() :])
        if "prompt" in known[1]:
            return f"prompts.{known[2]}.{rest}"
        return f"head.{known[2]}.{_bare_head(rest)}"
    if not place.task:
        return name
    if bare := _BARE_PROMPT.match(name):
        return f"prompts.{place.task}.{name[bare.end() :]}"
    if place.kind == "head" or _BARE_TEACHER.match(name):
        return f"head.{place.task}.{_bare_head(name)}"
    return f"prompts.{place.task}.{name}" if place.kind == "prompts" else name


def _bare_head(name: str) -> str:
    return _HEAD_WRAPPER.sub("", name, count=1) if _HEAD_WRAPPER.match(name) else name
