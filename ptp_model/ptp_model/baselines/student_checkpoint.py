"""An Entropic Student on disk: a folder with its weights and an ``entropic_student.json`` that says what they are.

entropic_student.json   format, version, teacher and its stem's SHA-256, β, weights with their SHA-256, provenance
student.safetensors     all weights; the coder's tables are made anew from the prior
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ptp_model.baselines.entropic_student import EntropicStudent
from ptp_model.errors import CheckpointError, SpecError, WeightsError
from ptp_model.teachers import Teacher
from ptp_model.teachers.weights import is_counter, load_strictly
from ptp_model.tensor_files import halved, read_manifest, read_tensors, write_manifest, write_tensors

FORMAT = "ptp-entropic-student"
VERSION = 1
MANIFEST = "entropic_student.json"

# compressai keeps the tables of its coder in the state.
_CODER_BUFFERS = tuple(f"entropy_bottleneck.{name}" for name in ("_offset", "_quantized_cdf", "_cdf_length"))


@dataclass(frozen=True)
class StudentCheckpoint:
    """A loaded student, in evaluation mode, ready to code.

    Attributes:
        student: with the coder's tables.
        beta: weight of the feature error that it was trained with.
        stem_sha256: of the stem that it imitates; see :func:`stem_digest`.
        sha256: of its weights.
        provenance: how it was trained, as written by the trainer.
    """

    student: EntropicStudent
    beta: float
    stem_sha256: str
    sha256: str
    provenance: Mapping[str, Any] = field(default_factory=dict)


def stem_digest(teacher: Teacher) -> str:
    """SHA-256 over the weights of the layers that a student replaces: two teachers of one name may differ in them."""
    digest = hashlib.sha256()
    for name, value in sorted(teacher.stem_layers().state_dict().items()):
        if not is_counter(name):
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save(
    folder: Path,
    student: EntropicStudent,
    teacher: Teacher,
    beta: float,
    provenance: Mapping[str, Any],
    *,
    half: bool = False,
) -> str:
    """Write a folder; each file beside and renamed, the manifest last.

    Args:
        teacher: that it was trained to imitate.
        half: store the weights in float16.

    Returns:
        The weights' SHA-256.

    Raises:
        CheckpointError: a weight is beyond float16.
        NotSavedError: a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value for name, value in student.state_dict().items() if name not in _CODER_BUFFERS}
    weights = write_tensors(folder, "student.safetensors", halved(state) if half else state)
    manifest = {
        "format": FORMAT,
        "version": VERSION,
        "teacher": student.teacher,
        "stem_sha256": stem_digest(teacher),
        "beta": beta,
        "weights": weights,
        "provenance": dict(provenance),
    }
    write_manifest(folder / MANIFEST, manifest)
    return weights["sha256"]


def load(path: Path) -> StudentCheckpoint:
    """Load a student.

    Args:
        path: its folder, or the manifest in it.

    Raises:
        CheckpointError: none there, of another version, altered, incomplete, or not of its own teacher.
    """
    manifest_file = path if path.name == MANIFEST else path / MANIFEST
    manifest = read_manifest(manifest_file, FORMAT, VERSION, "give the folder that ptp train entropic-student wrote")
    try:
        student = EntropicStudent(manifest["teacher"])
        own = student.state_dict()
        state = read_tensors(manifest_file, manifest["weights"]) | {name: own[name] for name in _CODER_BUFFERS}
        load_strictly("Entropic Student", student, state)
        beta, stem, sha256 = float(manifest["beta"]), str(manifest["stem_sha256"]), manifest["weights"]["sha256"]
    except CheckpointError:
        raise
    except (SpecError, WeightsError) as error:
        raise CheckpointError(f"{manifest_file.parent}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{manifest_file}: missing or mistyped field: {error}; written by another program?"
        ) from error
    student.eval().requires_grad_(False)
    student.prepare_coder()
    return StudentCheckpoint(student, beta, stem, sha256, manifest.get("provenance", {}))
