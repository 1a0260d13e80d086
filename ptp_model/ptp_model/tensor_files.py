"""Weights as a folder: safetensors files beside a JSON manifest that names each with its SHA-256.

What all checkpoints have in common. Nothing is unpickled; a file that was altered is refused before it is parsed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor

from ptp_model.errors import CheckpointError
from ptp_model.files import write_beside


def read_manifest(path: Path, kind: str, version: int, hint: str) -> dict[str, Any]:
    """The manifest as it was written.

    Args:
        path: of the JSON file.
        kind: what its ``format`` must be.
        version: the only one that is read.
        hint: what to do where there is none.

    Raises:
        CheckpointError: not there, not readable, or of another format or version.
    """
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(
            f"no checkpoint at {path.parent}: expected a folder with {path.name}; got nothing of that name; {hint}"
        ) from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not readable JSON ({error}); expected what the training wrote") from error
    if not isinstance(manifest, dict) or manifest.get("format") != kind:
        raise CheckpointError(f"{path}: expected format {kind!r}; this JSON is something else")
    if manifest.get("version") != version:
        raise CheckpointError(
            f"{path}: expected version {version}, got {manifest.get('version')!r}; use the release that wrote it"
        )
    return manifest


def write_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Write it, last of all files: a folder with a manifest is complete.

    Raises:
        NotSavedError: see :func:`ptp_model.files.write_beside`.
    """
    write_beside(path, (json.dumps(manifest, indent=1) + "\n").encode())


def read_tensors(manifest: Path, entry: Mapping[str, str]) -> dict[str, Tensor]:
    """The tensors of one file.

    Args:
        manifest: path of the JSON file that the entry is from.
        entry: ``file`` and ``sha256``, as :func:`write_tensors` gave them.

    Raises:
        CheckpointError: outside the folder, missing, altered, or no safetensors file.
        KeyError, TypeError: an entry without these fields.
    """
    folder, name, digest = manifest.parent, entry["file"], entry["sha256"]
    if Path(name).name != name:
        raise CheckpointError(f"{manifest}: file {name!r} lies outside the checkpoint's folder")
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise CheckpointError(f"{folder}: {name} is missing or unreadable; copy the whole folder again") from error
    got = hashlib.sha256(data).hexdigest()
    if got != digest:
        raise CheckpointError(
            f"{folder}: {name} was altered: expected SHA-256 {digest[:16]}…, got {got[:16]}…; copy it again"
        )
    try:
        return load_safetensors(data)
    except safetensors.SafetensorError as error:
        raise CheckpointError(f"{folder}: {name} is not a safetensors file: {error}") from error


def write_tensors(folder: Path, name: str, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Write one file and give its entry for the manifest.

    Raises:
        NotSavedError: see :func:`ptp_model.files.write_beside`.
    """
    data = save_safetensors({key: value.detach().contiguous().cpu() for key, value in state.items()})
    write_beside(folder / name, data)
    return {"file": name, "sha256": hashlib.sha256(data).hexdigest()}


def halved(state: Mapping[str, Tensor], kept: str = "") -> dict[str, Tensor]:
    """Floating-point tensors in float16.

    Args:
        state: by name.
        kept: start of the names that stay as they are; empty: of none.

    Raises:
        CheckpointError: a value is beyond float16.
    """
    found = {
        name: value if not value.is_floating_point() or (kept and name.startswith(kept)) else value.half()
        for name, value in state.items()
    }
    if lost := [name for name, value in found.items() if not bool(torch.isfinite(value).all())]:
        raise CheckpointError(
            f"{len(lost)} tensors hold values beyond float16 ({', '.join(lost[:3])}); save the checkpoint in float32"
        )
    return found
