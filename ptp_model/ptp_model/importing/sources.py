"""Files of weights as tensors by name: safetensors, or what ``torch.save`` wrote as long as it holds data alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from ptp_model.errors import CheckpointError, PickledObjectsError

#: Entries of a checkpoint that hold the weights; what lies beside them (optimiser, epoch, …) is passed over.
CONTAINERS = ("state_dict", "model_state_dict", "model", "net", "network", "codec")
#: Entries that hold more of the model beside such a container; their names keep the entry's in front.
BESIDE = ("prompts", "heads", "head")

_GLOBAL = re.compile(r"GLOBAL ([\w.]+)")


@dataclass(frozen=True)
class Source:
    """What one file holds.

    Attributes:
        file: its name, without folders.
        sha256: of its bytes, hexadecimal.
        container: entries that led to the weights, such as ``state_dict``; ``""``: they lay at the top.
        tensors: by the names in the file, nested ones joined by dots.
        passed_over: entries that are no weights: name → what it is.
    """

    file: str
    sha256: str
    container: str
    tensors: Mapping[str, Tensor]
    passed_over: Mapping[str, str] = field(default_factory=dict)


def read_source(path: Path) -> Source:
    """Tensors of a file, on the CPU.

    Raises:
        PickledObjectsError: only unpickling, which can run any code, could read it.
        CheckpointError: it cannot be read, is damaged, holds no tensor, or more than one set of weights.
    """
    content = _content(path)
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path.name}: expected names with tensors, got {type(content).__name__}; save model.state_dict()"
        )
    found = _Found({}, {})
    container = _descend(path.name, content, found)
    if not found.tensors:
        inside = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise CheckpointError(f"{path.name}: expected tensors, got none (only {inside}); save model.state_dict()")
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Source(path.name, digest, container, found.tensors, found.passed_over)


@dataclass(frozen=True)
class _Found:
    tensors: dict[str, Tensor]
    passed_over: dict[str, str]

    def take(self, prefix: str, content: Mapping[Any, Any]) -> None:
        """All tensors below, by dotted names."""
        for key, value in content.items():
            name = f"{prefix}{key}"
            if isinstance(value, Tensor) and isinstance(key, str):
                self.tensors[name] = value.detach()
            elif isinstance(value, Mapping) and isinstance(key, str):
                self.take(f"{name}.", value)
            else:
                self.passed_over[name] = type(value).__name__


def _descend(file: str, content: Mapping[Any, Any], found: _Found, path: str = "") -> str:
    """Fill ``found`` from the innermost container; returns the way to it."""
    inner = [key for key in CONTAINERS if _holds_tensors(content.get(key))]
    if not inner:
        parts = {key: value for key, value in content.items() if isinstance(value, Tensor) or key in BESIDE}
        found.take("", parts)
        found.passed_over.update({str(k): type(v).__name__ for k, v in content.items() if k not in parts})
        return path
    if len(inner) > 1:
        raise CheckpointError(
            f"{file}: expected one set of weights, got {' and '.join(inner)}; save the one that is meant on its own"
        )
    for key, value in content.items():
        if key in BESIDE and isinstance(value, Mapping):
            found.take(f"{key}.", value)
        elif key != inner[0]:
            found.passed_over[str(key)] = type(value).__name__
    return _descend(file, content[inner[0]], found, f"{path}.{inner[0]}".lstrip("."))


def _holds_tensors(value: Any) -> bool:
    """Whether this is a mapping with a tensor somewhere: a "model" may also be a configuration."""
    if not isinstance(value, Mapping):
        return False
    return any(isinstance(item, Tensor) or _holds_tensors(item) for item in value.values())


def _content(path: Path) -> Any:
    """A safetensors file by its first bytes, everything else by torch, which is told to read data alone."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:] == b"{":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise CheckpointError(f"{path}: expected a readable file, got: {error.strerror or error}") from error
    except safetensors.SafetensorError as error:
        raise CheckpointError(
            f"{path.name}: expected a safetensors file, got a damaged one ({error}); copy it again"
        ) from error
    except Exception as error:  # torch raises whatever a damaged or foreign file leads it to
        raise _refused(path.name, error) from error


def _refused(file: str, error: Exception) -> CheckpointError | PickledObjectsError:
    text = str(error)
    if "weights_only" in text or "eights only" in text:
        what = _GLOBAL.search(text)
        return PickledObjectsError(
            f"{file}: expected tensors alone, got a file that has to be unpickled"
            f"{f' ({what[1]})' if what else ' or is none of torch.save'}; unpickling can run any code and is never "
            "done here: where the file was made, save torch.save(model.state_dict(), path) or a safetensors file"
        )
    first = text.strip().partition("\n")[0][:120]
    return CheckpointError(
        f"{file}: expected a safetensors file or one of torch.save, got something unreadable "
        f"({type(error).__name__}: {first}); copy it again, or save model.state_dict() anew"
    )
