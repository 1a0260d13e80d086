"""Reading weights: tensors only, every name and shape accounted for, nothing left at its random start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
from torch import nn

from ptp_model.errors import WeightsError

Weights = Path | Mapping[str, torch.Tensor]


def is_counter(name: str) -> bool:
    """Whether the tensor only counts the batches that a batch normalisation has seen; no evaluation reads it."""
    return name.endswith("num_batches_tracked")


def read_state(weights: Weights) -> Mapping[str, torch.Tensor]:
    """A state dict from a ``.safetensors`` file, from anything that ``torch.save`` wrote, or passed through.

    Raises:
        WeightsError: the file cannot be read, or holds more than tensors.
    """
    if not isinstance(weights, Path):
        return weights
    try:
        if weights.suffix == ".safetensors":
            return safetensors.torch.load_file(weights)
        state = torch.load(weights, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(
            f"weights: cannot read {weights.name}: {error.strerror or error}; give a readable file"
        ) from error
    except Exception as error:  # the readers raise whatever a damaged file leads them to: IndexError, KeyError, ...
        raise WeightsError(
            f"weights: {weights.name}: expected a state dict of tensors, got a damaged file or other objects; "
            "save it again with torch.save(model.state_dict(), path) or safetensors"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(
            f"weights: {weights.name}: expected names with tensors, got {type(state).__name__} of other objects; "
            "save model.state_dict()"
        )
    return state


def load_strictly(what: str, target: nn.Module, state: Mapping[str, torch.Tensor], *, counters: bool = True) -> None:
    """Load exactly the tensors that the module has.

    Args:
        what: how errors name the module.
        counters: whether the counters of batches are expected too; they are set when present and ignored when not.

    Raises:
        WeightsError: a tensor is missing, unknown, of another shape, or not finite.
    """
    own = target.state_dict()
    wanted = {name: value for name, value in own.items() if counters or not is_counter(name)}
    missing, unknown = sorted(set(wanted) - set(state)), sorted(set(state) - set(own))
    if missing or unknown:
        parts = [
            f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for kind, names in (("missing", missing), ("unknown", unknown))
            if names
        ]
        raise WeightsError(
            f"{what}: expected exactly {len(wanted)} tensors, got {' and '.join(parts)}; "
            "give the weights of this network"
        )
    for name in wanted:
        if state[name].shape != own[name].shape:
            raise WeightsError(
                f"{what}: tensor {name}: expected shape {list(own[name].shape)}, got {list(state[name].shape)}; "
                "give the weights of this network"
            )
        if not bool(torch.isfinite(state[name]).all()):
            raise WeightsError(
                f"{what}: tensor {name}: expected finite values, got NaN or infinity; "
                "the file is damaged or its training diverged"
            )
    target.load_state_dict({**own, **{name: state[name].to(own[name].dtype) for name in wanted}}, strict=True)
