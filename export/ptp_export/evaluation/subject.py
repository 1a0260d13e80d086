"""What is evaluated: a bundle, or a checkpoint exported to a bundle for the occasion; and the teacher it imitates.

A checkpoint is exported rather than run in PyTorch: so the bytes, the symbols and the post-processing are those that a
device would see, and there is one path to trust.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from ptp_export.options import WHOLE_RANGE, ExportOptions
from ptp_export.oracle.checkpoint_task import CheckpointTask, load_task
from ptp_export.pipeline import export
from ptp_export.precision.choices import PrecisionChoices
from ptp_export.stages import StageWatcher
from ptp_model.teachers import Teacher
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import CheckpointError, TaskNotAvailableError
from ptp_runtime.session import Session

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Subject:
    """An opened session and its teacher.

    Attributes:
        session: of the bundle.
        teacher: the whole task network.
        title: for the reader: preset, task and precision.
        checkpoint_sha256: identity of the weights.
    """

    session: Session
    teacher: Teacher
    title: str
    checkpoint_sha256: str


def teacher_sha256(teacher: Teacher) -> str:
    """Identity of a teacher: SHA-256, hexadecimal, over the names, dtypes and values of its tensors."""
    digest = hashlib.sha256()
    for name, tensor in sorted(teacher.state_dict().items()):
        values = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{name} {values.dtype} {values.shape}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def is_bundle(source: str) -> bool:
    """Whether the argument names a bundle rather than a checkpoint."""
    return (Path(source) / MANIFEST).is_file()


def task_of(source: str, task: str | None) -> str:
    """The task that was asked for; without one the bundle's, or ``seg`` of a checkpoint.

    Raises:
        BundleError: the bundle cannot be used.
    """
    if task is not None:
        return task
    return Bundle.open(Path(source)).manifest.task.name if is_bundle(source) else "seg"


@contextmanager
def opened(
    source: str, task: str, checkpoint: str, backend: str, threads: int | None, watcher: StageWatcher
) -> Iterator[Subject]:
    """Open a bundle, or export a checkpoint, which takes a minute or two, and open that.

    A checkpoint is measured with its float entropy path, as it was trained; a bundle with whichever it has.

    Args:
        source: a bundle's or a checkpoint's folder, or ``demo``.
        task: see :func:`task_of`.
        checkpoint: a bundle's own, from which its teacher is taken.
        backend, threads: as for ``Session.open``.
        watcher: told about the stages of the export.

    Raises:
        TaskNotAvailableError: the task is not in it, or has no teacher.
        CheckpointError: the checkpoint is unusable, or not the bundle's.
        BundleError, BackendError: see ``Session.open``.
    """
    if is_bundle(source):
        yield from _from_bundle(source, task, checkpoint, backend, threads)
        return
    loaded, teacher = _with_teacher(source, task)
    with TemporaryDirectory(prefix="ptp-eval-") as folder:
        target = Path(folder) / "bundle"
        export(_options(source, loaded.name, target), watcher)
        with Session.open(target, backend, threads) as session:
            yield _subject(session, loaded, teacher)


def _from_bundle(source: str, task: str, checkpoint: str, backend: str, threads: int | None) -> Iterator[Subject]:
    bundle = Bundle.open(Path(source))
    loaded, teacher = _with_teacher(checkpoint, task)
    if bundle.manifest.model.checkpoint_sha256 != loaded.digest:
        raise CheckpointError(
            f"the bundle was not exported from the checkpoint {checkpoint}",
            expected=f"a checkpoint of SHA-256 {bundle.manifest.model.checkpoint_sha256[:16]}…",
            got=f"{loaded.digest[:16]}…",
            hint="name the right one with --checkpoint: its teacher is the judge",
        )
    with Session.open(bundle, backend, threads, task) as session:
        yield _subject(session, loaded, teacher)


def _with_teacher(checkpoint: str, task: str) -> tuple[CheckpointTask, Teacher]:
    loaded = load_task(checkpoint, task)
    teacher = loaded.chain.teacher
    if teacher is None:
        raise TaskNotAvailableError(
            f"the task {task!r} cannot be evaluated", expected="seg, det or cls", got=task, hint="it has no teacher"
        )
    return loaded, teacher


def _subject(session: Session, loaded: CheckpointTask, teacher: Teacher) -> Subject:
    spec = loaded.chain.codec.spec
    found = {graph.precision for graph in session.manifest.graphs}
    precision = next(name for name in ("int8", "fp16", "fp32") if name in found)
    title = f"ptp {spec.preset}, {loaded.name}, {precision.upper()}"
    return Subject(session, teacher, title, loaded.digest)


def _options(checkpoint: str, task: str, output: Path) -> ExportOptions:
    return ExportOptions(
        task=task,
        checkpoint=checkpoint,
        output=output,
        precision=PrecisionChoices(),
        accepted=WHOLE_RANGE,
        profile=WHOLE_RANGE,
        targets=(),
        devices=(),
        allow_partial=False,
        overwrite=False,
        only="",
        log_folder=output.with_name("log"),
        build_timeout_s=900.0,
        entropy_path="float",
    )
