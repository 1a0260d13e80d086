"""Mean and standard deviation of the feature, by channel: given by the user where the source has none.

A codec works on (h - mean) / std. One that was trained on h as it is has mean 0 and std 1 (``identity``); one that was
trained on a standardised h needs exactly those figures, from a file, or measured anew on photographs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ptp_model.errors import CheckpointError
from ptp_model.importing.sources import read_source

NAMES = ("feature_mean", "feature_std")
IDENTITY = "identity"


def read_statistics(path: Path, channels: int) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation from a file, each [1, F, 1, 1].

    Args:
        path: JSON ``{"mean": […], "std": […]}``, or safetensors or ``torch.save`` with ``mean`` and ``std``, or with
            ``feature_mean`` and ``feature_std``.
        channels: F.

    Raises:
        CheckpointError: it is none of these, or has other figures than one of each for every channel.
    """
    values: dict[str, Any] = dict(_json(path) if path.suffix == ".json" else read_source(path).tensors)
    found = []
    for name in NAMES:
        value = values.get(name, values.get(name.removeprefix("feature_")))
        if value is None:
            raise CheckpointError(
                f"{path.name}: expected mean and std (or {' and '.join(NAMES)}), got {', '.join(values) or 'nothing'}"
            )
        try:
            found.append(torch.as_tensor(value, dtype=torch.float32).flatten())
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path.name}: {name}: expected a list of numbers, got {error}") from error
    mean, std = found
    if not mean.numel() == std.numel() == channels:
        raise CheckpointError(
            f"{path.name}: expected {channels} figures of each, one a channel; "
            f"got {mean.numel()} of mean and {std.numel()} of std"
        )
    if fault := faulty(mean, std):
        raise CheckpointError(f"{path.name}: {fault}")
    return mean.reshape(1, -1, 1, 1), std.reshape(1, -1, 1, 1)


def faulty(mean: Tensor, std: Tensor) -> str:
    """What is wrong with the figures, in a clause; ``""`` where nothing is."""
    if not bool(torch.isfinite(torch.stack([mean, std])).all()):
        return "feature statistics: expected finite figures, got NaN or infinity"
    if bool((std <= 0).any()):
        return f"feature_std: expected figures above 0, got {float(std.min()):g}; a variance is not meant"
    return ""


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name}: expected readable JSON, got {error}") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path.name}: expected a JSON object with mean and std, got {type(content).__name__}")
    return content
