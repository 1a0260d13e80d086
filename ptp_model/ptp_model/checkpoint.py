"""Checkpoints: a folder of safetensors with a ``checkpoint.json`` that says what they are.

    checkpoint.json          format, version, spec, files with their SHA-256, how it was trained
    codec.safetensors        Part 1 without prompts, float32, or float16 where it was saved so
    task.<name>.safetensors  ``prompts.*`` likewise, ``head.*`` the part of the teacher no installed package carries

Nothing is unpickled; names, shapes and digests must fit exactly. A task can be added or replaced without touching the
codec, which is how prompts are meant to be used.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from ptp_model import teachers
from ptp_model.codec import FeatureCodec
from ptp_model.errors import CheckpointError, SpecError, WeightsError
from ptp_model.prompts import TaskPrompts
from ptp_model.spec import TASK_IDS, ModelSpec
from ptp_model.teachers.weights import load_strictly
from ptp_model.tensor_files import halved, read_manifest, read_tensors, write_manifest, write_tensors

FORMAT = "ptp-checkpoint"
VERSION = 1
MANIFEST = "checkpoint.json"
#: The trained tiny checkpoint that is part of the package.
DEMO = Path(__file__).with_name("demo")

# compressai's bottleneck keeps tables of its own coder in the state; ours are made from the prior at export.
_CODER_BUFFERS = tuple(f"entropy_bottleneck.{name}" for name in ("_offset", "_quantized_cdf", "_cdf_length"))

# The teacher's stem stays as it was published: it is small, and variances can lie below float16.
_AS_PUBLISHED = "stem."


@dataclass(frozen=True)
class TaskModel:
    """What makes the universal codec a task's: its prompts, and the teacher whose tail runs on the decoded feature."""

    prompts: TaskPrompts
    teacher: teachers.Teacher


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint, all modules in evaluation mode.

    Attributes:
        digest: SHA-256 over the digests of all files, hexadecimal: the checkpoint's identity.
        provenance: how it was trained, as written by the trainer.
    """

    spec: ModelSpec
    codec: FeatureCodec
    tasks: Mapping[str, TaskModel] = field(default_factory=dict)
    digest: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


def load(path: str | Path) -> Checkpoint:
    """Load a checkpoint.

    Args:
        path: its folder, its ``checkpoint.json``, or ``"demo"`` for the one in the package.

    Raises:
        CheckpointError: not a checkpoint, of another version, altered, incomplete, or not of its own spec.
    """
    folder = DEMO if str(path) == "demo" else Path(path)
    folder = folder.parent if folder.name == MANIFEST else folder
    manifest_file = folder / MANIFEST
    manifest = read_manifest(manifest_file, FORMAT, VERSION, "give the folder that the training wrote, or 'demo'")
    try:
        spec = ModelSpec.from_dict(manifest["spec"])
        codec = FeatureCodec(spec)
        load_strictly("codec", codec, _with_coder_buffers(codec, read_tensors(manifest_file, manifest["codec"])))
        tasks = {
            name: _load_task(spec, name, read_tensors(manifest_file, entry))
            for name, entry in manifest["tasks"].items()
        }
    except (SpecError, WeightsError) as error:
        raise CheckpointError(f"{folder}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{manifest_file}: missing or mistyped field: {error}; written by another program?"
        ) from error
    codec.eval().requires_grad_(False)
    return Checkpoint(spec, codec, tasks, _digest(manifest), manifest.get("provenance", {}))


def save(
    folder: Path,
    codec: FeatureCodec,
    tasks: Mapping[str, TaskModel],
    provenance: Mapping[str, Any],
    *,
    half: bool = False,
) -> str:
    """Write a checkpoint folder; each file beside and renamed, ``checkpoint.json`` last.

    Args:
        half: store codec and prompts in float16. What is loaded again are those rounded weights, in float32: they, and
            not the ones given, are the codec whose figures count.

    Returns:
        The checkpoint's digest.

    Raises:
        CheckpointError: a weight is beyond float16.
        NotSavedError: a file cannot be written, for example on a full disk.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value for name, value in codec.state_dict().items() if name not in _CODER_BUFFERS}
    state = halved(state, _AS_PUBLISHED) if half else state
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "version": VERSION,
        "spec": codec.spec.to_dict(),
        "codec": write_tensors(folder, "codec.safetensors", state),
        "tasks": {},
        "provenance": dict(provenance),
    }
    for name, task in tasks.items():
        state = {f"prompts.{key}": value for key, value in task.prompts.state_dict().items()}
        state = halved(state, _AS_PUBLISHED) if half else state
        state |= {f"head.{key}": value for key, value in task.teacher.head_state().items()}
        manifest["tasks"][name] = write_tensors(folder, f"task.{name}.safetensors", state)
    write_manifest(folder / MANIFEST, manifest)
    return _digest(manifest)


def _load_task(spec: ModelSpec, name: str, state: Mapping[str, Tensor]) -> TaskModel:
    if name not in TASK_IDS:
        raise CheckpointError(f"unknown task {name!r}; expected one of {', '.join(TASK_IDS)}")
    prompts = TaskPrompts(spec)
    load_strictly(f"prompts of {name}", prompts, _part(state, "prompts."))
    teacher = teachers.build(spec.teacher, name)
    teacher.load_head_state(_part(state, "head."))
    prompts.eval().requires_grad_(False)
    return TaskModel(prompts, teacher)


def _part(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def _with_coder_buffers(codec: FeatureCodec, state: dict[str, Tensor]) -> dict[str, Tensor]:
    own = codec.state_dict()
    return state | {name: own[name] for name in _CODER_BUFFERS if name in own}


def _digest(manifest: Mapping[str, Any]) -> str:
    whole = {"spec": manifest["spec"], "codec": manifest["codec"], "tasks": manifest["tasks"]}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def averaged_state(folder: Path) -> dict[str, Tensor]:
    """Averaged weights of a training run's folder, by parameter name (to look at a run before it ends)."""
    with safetensors.safe_open(folder / "state.safetensors", framework="pt") as file:
        names = [name for name in file.keys() if name.startswith("average/")]  # noqa: SIM118
        return {name.removeprefix("average/"): torch.clone(file.get_tensor(name)) for name in names}
