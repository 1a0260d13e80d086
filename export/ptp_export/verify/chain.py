"""The whole chain: photo → bytes → output, through the runtime and through PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ptp_export.oracle.reference import ReferenceRun
from ptp_export.verify.limits import ChainLimit
from ptp_export.verify.measure import float_error, integer_error
from ptp_export.verify.report import ChainResult
from ptp_model.teachers import upsample_logits
from ptp_runtime.entropy_path import Place, place_of
from ptp_runtime.latents import Latents
from ptp_runtime.manifest import Manifest
from ptp_runtime.session import Decoded, Encoded
from ptp_runtime.tasks import Classification, Detections, Segmentation, View


def compare_chain(
    manifest: Manifest,
    name: str,
    photo: NDArray[np.uint8],
    encoded: Encoded,
    decoded: Decoded,
    run: ReferenceRun,
    rate: int,
    limit: ChainLimit,
) -> ChainResult:
    """Compare what the runtime made of a photo with the model's run on the same photo.

    Args:
        manifest: of the bundle.
        name: of the photo.
        photo: uint8 [H, W, 3].
        encoded: what the session made of it, with every step.
        decoded: what it made of that stream, with every step.
        run: the model on that photo, resized as the bundle's task declares.
        rate: number of the rate of that run.
        limit: what is allowed.
    """
    symbols = _symbols(encoded.latents, manifest)
    return ChainResult(
        photo=name,
        rate=rate,
        height=encoded.rate.height,
        width=encoded.rate.width,
        size_bytes=encoded.rate.size_bytes,
        bits_per_pixel=encoded.rate.bits_per_pixel,
        z_differing=integer_error(encoded.latents.z, run.z[0]).share,
        symbols_differing=integer_error(symbols, run.symbols[0]).share,
        feature=float_error(decoded.tensors["h"], run.graphs["head"].inputs["h"]).typical,
        disagreement=_disagreement(decoded, run, photo.shape[:2]),
        round_trip_errors=_round_trip_errors(encoded.latents, decoded.latents),
        limit=limit,
    )


def _round_trip_errors(sent: Latents, received: Latents) -> int:
    """How many hyper symbols, latents, and symbols, indices and means of any step are not the same."""
    pairs: list[tuple[NDArray[Any], NDArray[Any]]] = [(sent.z, received.z), (sent.y_int, received.y_int)]
    for ours, theirs in zip(sent.steps, received.steps, strict=True):
        pairs += [(ours.symbols, theirs.symbols), (ours.index, theirs.index), (ours.mean, theirs.mean)]
    return sum(int(np.count_nonzero(a != b)) for a, b in pairs)


def _symbols(latents: Latents, manifest: Manifest) -> NDArray[np.int32]:
    """The residual symbols of all steps in their places, int32 [M, rows, columns]."""
    whole = np.zeros(latents.y_int.shape[1:], np.int32)
    for step, record in zip(manifest.entropy.schedule, latents.steps, strict=True):
        place: Place = place_of(step, *whole.shape[1:])
        # Steps of the two checkerboard halves share a box; each is 0 where the other codes.
        whole[place.box] += record.symbols
    return whole


def _disagreement(decoded: Decoded, run: ReferenceRun, shape: tuple[int, ...]) -> float:
    """See :class:`~ptp_export.verify.report.ChainResult`."""
    reference = run.graphs["head"].outputs
    output = decoded.output
    if isinstance(output, Segmentation):
        logits = upsample_logits(torch.from_numpy(np.asarray(reference["logits"])), (shape[0], shape[1]))
        return float(np.mean(output.mask != logits.argmax(1)[0].numpy()))
    if isinstance(output, Detections):
        found, expected = (_sigmoid(np.asarray(raw["cls_logits"])) for raw in (decoded.tensors, reference))
        return float(np.abs(found - expected).max())
    if isinstance(output, Classification):
        return float(np.abs(output.probabilities - _softmax(np.asarray(reference["logits"])[0])).max())
    if isinstance(output, View):
        expected = np.clip(np.asarray(reference["image"])[0], 0, 1)
        found = np.clip(decoded.tensors["image"][0], 0, 1)
        return float(np.sqrt(np.mean(np.square(found - expected))))
    raise TypeError(f"no way to compare {type(output).__name__}")


def _softmax(logits: NDArray[Any]) -> NDArray[Any]:
    """In float64, over the classes [C]."""
    probability: NDArray[Any] = torch.from_numpy(logits.astype(np.float64)).softmax(0).numpy()
    return probability


def _sigmoid(x: NDArray[Any]) -> NDArray[Any]:
    probability: NDArray[Any] = 1 / (1 + np.exp(-x))
    return probability
