"""Names and shapes of sources against what a spec needs: every tensor is accounted for before one is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import torch
from torch import Tensor

from ptp_model.importing.names import (
    NO_PREFIXES,
    Place,
    Prefixes,
    cut,
    is_constant,
    part_of,
    spelt,
    why_passed_over,
)
from ptp_model.importing.sources import Source
from ptp_model.importing.statistics import NAMES as STATISTICS

#: So many names are listed in a refusal; shapes are listed whole.
LISTED_NAMES = 12


@dataclass(frozen=True)
class Offered:
    """A tensor of a source, and our name for it.

    Attributes:
        file, name: where it lay.
        target: our name.
    """

    file: str
    name: str
    target: str
    tensor: Tensor

    @property
    def place(self) -> str:
        return f"{self.file}: {self.name}"


@dataclass(frozen=True)
class Unfit:
    """A tensor that cannot be taken: expected and got, in words."""

    place: str
    target: str
    expected: str
    got: str

    def __str__(self) -> str:
        renamed = "" if self.place.endswith(f": {self.target}") else f" ({self.place})"
        return f"{self.target}: expected {self.expected}, got {self.got}{renamed}"


@dataclass(frozen=True)
class Matching:
    """What came of every tensor, in the order of the sources or of the network.

    Attributes:
        values: our name → tensor, of all that is taken.
        matched: our names that were the source's too.
        renamed: place in a source → our name.
        missing, allowed_missing: our names that no source has; the latter keep a fresh network's values.
        constants: our names that no source has, and that need none.
        left_over, ignored: places of what fits nowhere.
        passed_over: place → why it is not needed.
        unfit: of another shape or kind, not finite, or there twice.
    """

    values: Mapping[str, Tensor]
    matched: tuple[str, ...]
    renamed: Mapping[str, str]
    missing: tuple[str, ...]
    allowed_missing: tuple[str, ...]
    constants: tuple[str, ...]
    left_over: tuple[str, ...]
    ignored: tuple[str, ...]
    passed_over: Mapping[str, str]
    unfit: tuple[Unfit, ...]

    @property
    def refused(self) -> bool:
        return bool(self.missing or self.left_over or self.unfit)

    def problems(self) -> str:
        """Everything that is wrong, a line each, indented; ``""`` where nothing is."""
        lines = [f"  {len(self.unfit)} do not fit:"] if self.unfit else []
        lines += [f"    {item}" for item in self.unfit]
        for kind, names in (("missing", self.missing), ("left over", self.left_over)):
            if names:
                lines.append(f"  {len(names)} {kind}:")
                lines += [f"    {name}" for name in names[:LISTED_NAMES]]
                if len(names) > LISTED_NAMES:
                    lines.append(f"    … and {len(names) - LISTED_NAMES} more (--report FILE lists all)")
        return "\n".join(lines)


@dataclass
class _Tally:
    """A matching while it grows."""

    values: dict[str, Tensor] = field(default_factory=dict)
    matched: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    left_over: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    passed_over: dict[str, str] = field(default_factory=dict)
    unfit: list[Unfit] = field(default_factory=list)
    met: dict[str, Offered] = field(default_factory=dict)


def offers(source: Source, place: Place, prefixes: Prefixes = NO_PREFIXES) -> list[Offered]:
    """All tensors of a source under our names."""
    found = []
    for name, tensor in source.tensors.items():
        ours = spelt(name, place, prefixes)
        # A figure for every channel is as often stored without the image's axes.
        figures = ours in STATISTICS and tensor.dim() == 1
        pieces = cut(ours, tensor.reshape(1, -1, 1, 1) if figures else tensor)
        found += [Offered(source.file, name, target, piece) for target, piece in pieces.items()]
    return found


def match(
    expected: Mapping[str, Tensor],
    offered: Sequence[Offered],
    allow_missing: Sequence[str] = (),
    ignore: Sequence[str] = (),
) -> Matching:
    """Account for every tensor of both sides.

    Args:
        expected: all tensors that the parts have, by our names.
        allow_missing: patterns (``*``, ``?``, ``[…]``) of our names that may be missing.
        ignore: patterns of names, the source's or ours, that may be left over.
    """
    tally = _Tally()
    for offer in offered:
        _account(tally, offer, expected.get(offer.target), ignore)
    absent = [name for name in expected if name not in tally.met]
    constants = [name for name in absent if is_constant(name)]
    allowed = [name for name in absent if name not in constants and _any(name, allow_missing)]
    return Matching(
        values=tally.values,
        matched=tuple(tally.matched),
        renamed=tally.renamed,
        missing=tuple(name for name in absent if name not in constants and name not in allowed),
        allowed_missing=tuple(allowed),
        constants=tuple(constants),
        left_over=tuple(tally.left_over),
        ignored=tuple(tally.ignored),
        passed_over=tally.passed_over,
        unfit=tuple(tally.unfit),
    )


def _account(tally: _Tally, offer: Offered, wanted: Tensor | None, ignore: Sequence[str]) -> None:
    name, target = offer.place, offer.target
    if _any(offer.name, ignore) or _any(target, ignore):
        tally.ignored.append(name)
    elif wanted is None:
        if why := why_passed_over(target):
            tally.passed_over[name] = why
        else:
            tally.left_over.append(name)
    elif target in tally.met:
        earlier = tally.met[target]
        if not torch.equal(earlier.tensor, offer.tensor):
            tally.unfit.append(Unfit(name, target, "one tensor of this name", f"another in {earlier.place}"))
    else:
        tally.met[target] = offer
        fault = _fault(target, wanted, offer.tensor)
        if fault is not None:
            tally.unfit.append(Unfit(name, target, *fault))
            return
        tally.values[target] = offer.tensor
        if offer.name == target:
            tally.matched.append(target)
        else:
            tally.renamed[name] = f"{tally.renamed[name]}, {target}" if name in tally.renamed else target


def _fault(target: str, wanted: Tensor, got: Tensor) -> tuple[str, str] | None:
    """What was expected and what came, where the tensor cannot be taken."""
    if got.layout != torch.strided or got.is_quantized or got.device.type != "cpu":
        return "a plain tensor", "a quantised, sparse or empty one"
    if got.shape != wanted.shape:
        return f"shape {list(wanted.shape)}", f"{list(got.shape)}"
    if got.is_floating_point() != wanted.is_floating_point() or got.is_complex():
        return str(wanted.dtype).removeprefix("torch."), str(got.dtype).removeprefix("torch.")
    stored = got.to(wanted.dtype)
    if not bool(torch.isfinite(stored).all()):
        return "finite values", "NaN or infinity"
    # Weight tensors of a head are stored in float16: see Teacher.head_state.
    if part_of(target).startswith("head.") and got.dim() > 1 and not bool(torch.isfinite(stored.half()).all()):
        return "values within float16", f"{float(stored.abs().max()):.3g}"
    return None


def _any(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
