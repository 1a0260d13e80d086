"""What a tensor of a graph looks like from outside: name, dtype and shape.

Shapes are written in four symbols: ``h`` and ``w``, the rows and columns of 64×64 blocks of the padded photo, and
``h4`` and ``w4``, the rows and columns of the cropped feature. ``"16*h"`` is sixteen times ``h``; any other word is a
size that follows from the inputs and is not named further.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Role = Literal["analysis", "entropy", "synthesis", "head"]
Dim = int | str

_PRODUCT = re.compile(r"(?:(\d+)\*)?([A-Za-z_]\w*)")


def factor_and_symbol(dim: str) -> tuple[int, str]:
    """``"16*h"`` → (16, "h"); ``"h4"`` → (1, "h4").

    Raises:
        ValueError: another form.
    """
    match = _PRODUCT.fullmatch(dim)
    if match is None:
        raise ValueError(f"a symbolic size is written 'symbol' or 'number*symbol'; got {dim!r}")
    return int(match.group(1) or 1), match.group(2)


@dataclass(frozen=True)
class TensorSpec:
    """One input or output.

    Attributes:
        name: fixed for the life of the bundle schema.
        dtype: numpy's name (``float32``, ``uint8``, ``int16``).
        dims: one entry an axis, numbers or symbolic sizes.
    """

    name: str
    dtype: str
    dims: tuple[Dim, ...]

    def bind(self, values: Mapping[str, int]) -> tuple[Dim, ...]:
        """The dims with the known symbols replaced by numbers."""
        bound: list[Dim] = []
        for dim in self.dims:
            if isinstance(dim, str):
                factor, symbol = factor_and_symbol(dim)
                bound.append(factor * values[symbol] if symbol in values else dim)
            else:
                bound.append(dim)
        return tuple(bound)
