"""Backends that compute a convolution another way than FP32 sums of FP32 products, as torch operators.

Each stands for something real: TF32 tensor cores, a store in TF32, FP16 accumulation, cuDNN's Winograd kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def tf32(x: Tensor) -> Tensor:
    """Rounded to the 11 significant bits of TF32, halves away from 0 as tensor cores do it."""
    return ((x.contiguous().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


def _padding(pads: Sequence[int]) -> tuple[int, int]:
    return pads[0], pads[1]


def tf32_operands(x: Tensor, weight: Tensor, bias: Tensor | None = None, **attributes: Any) -> tuple[Tensor]:
    """What TF32 tensor cores do: rounded operands, exact products, FP32 sums."""
    return (functional.conv2d(tf32(x), tf32(weight), bias, padding=_padding(attributes["pads"])),)


def tf32_results(x: Tensor, weight: Tensor, bias: Tensor | None = None, **attributes: Any) -> tuple[Tensor]:
    """A backend that also stores what it has summed in TF32."""
    return (tf32(functional.conv2d(x, weight, bias, padding=_padding(attributes["pads"]))),)


def fp16_accumulation(x: Tensor, weight: Tensor, bias: Tensor | None = None, **attributes: Any) -> tuple[Tensor]:
    """Products and sums in FP16, one product after the other."""
    columns = functional.unfold(x, weight.shape[2:], padding=_padding(attributes["pads"]))[0].half()
    rows = weight.flatten(1).half()
    total = torch.zeros(len(rows), columns.shape[1], dtype=torch.float16)
    for k in range(rows.shape[1]):
        total = total + rows[:, k : k + 1] * columns[k]
    if bias is not None:
        total = total + bias.half()[:, None]
    return (total.float().reshape(1, len(rows), *x.shape[2:]),)


def winograd(x: Tensor, weight: Tensor, bias: Tensor | None = None, **attributes: Any) -> tuple[Tensor]:
    """F(2×2, 3×3) in FP32 (Lavin and Gray): the transform of the weights has halves; other kernels as usual."""
    if tuple(weight.shape[2:]) != (3, 3):
        return (functional.conv2d(x, weight, bias, padding=_padding(attributes["pads"])),)
    G = torch.tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    B = torch.tensor([[1.0, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    A = torch.tensor([[1.0, 1, 1, 0], [0, 1, -1, -1]])
    return (_winograd(x, weight, bias, G, B, A),)


def winograd_large(x: Tensor, weight: Tensor, bias: Tensor | None = None, **attributes: Any) -> tuple[Tensor]:
    """F(4×4, 3×3) in FP32: the transform of the weights has sixths."""
    if tuple(weight.shape[2:]) != (3, 3):
        return (functional.conv2d(x, weight, bias, padding=_padding(attributes["pads"])),)
    G = torch.tensor(
        [
            [1 / 4, 0, 0],
            [-1 / 6, -1 / 6, -1 / 6],
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    )
    B = torch.tensor(
        [
            [4.0, 0, -5, 0, 1, 0],
            [0, -4, -4, 1, 1, 0],
            [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0],
            [0, 2, -1, -2, 1, 0],
            [0, 4, 0, -5, 0, 1],
        ]
    )
    A = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
    return (_winograd(x, weight, bias, G, B, A),)


def _winograd(x: Tensor, weight: Tensor, bias: Tensor | None, G: Tensor, B: Tensor, A: Tensor) -> Tensor:
    """Tiles of the input → their transforms → products summed over channels → transformed back; all in FP32."""
    out, tile = A.shape
    height, width = x.shape[2:]
    rows, columns = -(-height // out), -(-width // out)
    padded = functional.pad(x, (1, out * columns - width + 1, 1, out * rows - height + 1))
    tiles = padded[0].unfold(1, tile, out).unfold(2, tile, out)
    data = B @ tiles @ B.T
    kernels = G @ weight @ G.T
    products = torch.einsum("oiab,irsab->orsab", kernels, data)
    result = (A @ products @ A.T).permute(0, 1, 3, 2, 4).reshape(len(weight), out * rows, out * columns)
    result = result[:, :height, :width]
    return (result if bias is None else result + bias[:, None, None])[None]
