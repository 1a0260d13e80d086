"""A bundle against its checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ptp_calibration import CalibrationError, PhotoSet
from ptp_export.oracle.checkpoint_task import CheckpointTask, load_task
from ptp_export.oracle.photo_groups import shipped_set
from ptp_export.oracle.photo_sizes import fit_photo, resized_photo
from ptp_export.sizes import Size
from ptp_export.verify.chain import compare_chain
from ptp_export.verify.gate import Gate
from ptp_export.verify.graphs import GraphComparison
from ptp_export.verify.integers import IntegerCheck
from ptp_export.verify.limits import Limits
from ptp_export.verify.report import Report
from ptp_runtime.bundle import Bundle
from ptp_runtime.bundle_files import read_gains
from ptp_runtime.coder import warm_up
from ptp_runtime.entropy_path import EntropyPath
from ptp_runtime.errors import CheckpointError, UsageError, VerificationError
from ptp_runtime.golden.gate import open_graphs
from ptp_runtime.images import load_image, padded_size
from ptp_runtime.manifest import Manifest
from ptp_runtime.session import Session
from ptp_runtime.tables import Tables


class PhotoWatcher(Protocol):
    """Told about every photo."""

    def photo(self, number: int, count: int, name: str) -> None:
        """The ``number``-th of ``count`` photos begins."""


def verify_bundle(
    path: Path,
    checkpoint: str,
    photos: PhotoSet | None,
    backend: str,
    limits: Limits,
    watcher: PhotoWatcher,
    task_name: str | None = None,
) -> Report:
    """Compare every graph and the whole chain with PyTorch.

    Args:
        path: the bundle.
        checkpoint: folder of the checkpoint it came from, or ``demo``.
        photos: real photos; None for the shipped parity photographs. Those the bundle was calibrated on are left out.
        backend: as for ``Session.open``.
        limits: to check against.
        watcher: told about every photo.
        task_name: of a bundle of several tasks; None: its main one.

    Returns:
        The report; :attr:`Report.passed` says how it went.

    Raises:
        CheckpointError: not the checkpoint that the bundle was exported from.
        VerificationError: no photo is left to compare, a graph gives something of another shape, or the certificate of
            an integer entropy path does not hold.
        InexactBackendError: the backend fails the golden test.
    """
    bundle = Bundle.open(path, task_name)
    manifest = bundle.manifest
    task = load_task(checkpoint, manifest.task.name)
    _require_same_checkpoint(manifest, task, checkpoint)
    chosen = photos if photos is not None else shipped_set("parity")
    calibrated = _calibrated_on(manifest)
    used = chosen.without(calibrated)
    if not len(used):
        raise VerificationError(
            "nothing was compared",
            expected="at least one photo that the bundle was not calibrated on",
            got=f"{len(chosen)} photos, all of them calibration photos",
            hint="give other photos with --photos",
        )
    integers = IntegerCheck.of(bundle, task.chain, limits)
    reference = task.chain if integers is None else integers.chain
    graphs, golden = open_graphs(bundle, backend, None, "refuse")
    warm_up()
    tables = Tables.from_bytes(bundle.read(manifest.entropy.tables))
    with Session(bundle, graphs, tables, read_gains(bundle), golden=golden) as session:
        comparison = GraphComparison(manifest, graphs.by_name, limits)
        limit = limits.chain_limit(_precision(manifest), manifest.task.name)
        entropy_path = EntropyPath(manifest, graphs.by_name, tables.scale_count)
        allowed = limits.gate_limit(_precision(manifest), manifest.task.name)
        gate = Gate(manifest, entropy_path, tables, task.chain.teacher, allowed)
        chain = []
        for number, photo in enumerate(used.photos, start=1):
            watcher.photo(number, len(used), photo.name)
            pixels = _fitting(load_image(photo.path, convert=True), manifest)
            # The rates in turn, from the default one upwards.
            rate = (session.default_rate + number - 1) % session.rates
            run = reference.run(resized_photo(pixels, manifest.preprocessing.resize), rate)
            comparison.add(run)
            encoded = session.encode_detailed(pixels, rate=rate)
            decoded = session.decode_detailed(encoded.data)
            chain.append(compare_chain(manifest, photo.name, pixels, encoded, decoded, run, rate, limit))
            gate.add(pixels, encoded, decoded, run)
            if integers is not None:
                integers.add(run, encoded.latents)
        return Report(
            bundle=str(path),
            task=manifest.task.name,
            identity=manifest.entropy.identity,
            backend=graphs.choice.backend.provider,
            checkpoint_sha256=task.digest,
            limits_sha256=limits.sha256,
            photos_from=chosen.provenance,
            left_out=[photo.name for photo in chosen.photos if photo.sha256 in calibrated],
            graphs=comparison.results(),
            chain=chain,
            integers=None if integers is None else integers.result(),
            gate=gate.result(),
        )


def photos_from(folder: Path) -> PhotoSet:
    """A folder of photos as a set.

    Raises:
        UsageError: no folder, or no photo in it.
    """
    try:
        return PhotoSet.from_folder(folder)
    except CalibrationError as error:
        raise UsageError("the photos cannot be used", got=str(error)) from error


def _require_same_checkpoint(manifest: Manifest, task: CheckpointTask, checkpoint: str) -> None:
    if manifest.model.checkpoint_sha256 != task.digest:
        raise CheckpointError(
            f"the bundle was not exported from the checkpoint {checkpoint}",
            expected=f"a checkpoint of SHA-256 {manifest.model.checkpoint_sha256[:16]}…",
            got=f"{task.digest[:16]}…",
            hint="name the right one with --checkpoint",
        )


def _calibrated_on(manifest: Manifest) -> frozenset[str]:
    """Digests of the photos that tuned the bundle's precision."""
    calibration: Any = manifest.audit.get("calibration", {})
    return frozenset(str(photo["sha256"]) for photo in calibration.get("photos", ()))


def _precision(manifest: Manifest) -> str:
    """The shortest of any graph's."""
    found = {graph.precision for graph in manifest.graphs}
    return next(precision for precision in ("int8", "fp16", "fp32") if precision in found)


def _fitting(pixels: NDArray[np.uint8], manifest: Manifest) -> NDArray[np.uint8]:
    """The photo as it is where the bundle takes its size; else scaled and cropped to the nearest size that it takes."""
    pre = manifest.preprocessing
    head = manifest.graph_of_role("head").inputs[0].shape
    stride = manifest.feature.stride
    if isinstance(head[2], int) and isinstance(head[3], int):
        return fit_photo(pixels, Size(head[2] * stride, head[3] * stride), pre.resize)
    if pre.resize is not None:
        return pixels
    height, width = pixels.shape[:2]
    rows, columns = padded_size(height, width, pre.multiple)
    return fit_photo(pixels, Size(_moved(height, rows, pre.height), _moved(width, columns, pre.width)))


def _moved(side: int, padded: int, accepted: tuple[int, int]) -> int:
    """The side itself where its padded length is accepted, else the nearest length that is."""
    return side if accepted[0] <= padded <= accepted[1] else min(max(padded, accepted[0]), accepted[1])
