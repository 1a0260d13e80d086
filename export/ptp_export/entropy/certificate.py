"""The certificate of an integer entropy path as a bundle's manifest says it, and its second proof.

What is proved, and how, is :func:`ptp_calibration.integer_path.prove`'s business. Here the proofs become the entry
``entropy.certificate`` of the manifest's audit, and a bundle's files are proved again and compared with that entry.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import onnx

from ptp_calibration.integer_path import GraphError, IntegerBoundError, LayerProof, prove
from ptp_export.stored_model import stored_model
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import VerificationError
from ptp_runtime.manifest import HYPER_GRAPH, Manifest

_HINT = "do not use this bundle for streams that others read; export it again"


def summary(proofs: Sequence[LayerProof]) -> dict[str, Any]:
    """The proofs as JSON values: the limit, the accumulator that comes closest to it, and a line for each layer."""
    worst = max(proofs, key=lambda proof: proof.share)
    return {
        "limit": worst.limit,
        "worst": _entry(worst),
        "layers": [
            _entry(proof)
            | {
                "smallest_shift": min(proof.shifts),
                "largest_shift": max(proof.shifts),
                "tf32_operands": proof.tf32_operands,
                "fp16_operands": proof.fp16_operands,
            }
            for proof in proofs
        ],
    }


def _entry(proof: LayerProof) -> dict[str, Any]:
    return {
        "graph": proof.graph,
        "layer": proof.layer,
        "channel": proof.channel,
        "bound": proof.bound,
        "share": math.floor(1e4 * proof.share) / 1e4,  # rounded down: what is proved is below the limit
    }


def entropy_models(bundle: Bundle) -> dict[str, onnx.ModelProto]:
    """The graphs of a bundle's entropy path by name, in coding order.

    Raises:
        BundleError: a file is missing or altered.
    """
    manifest = bundle.manifest
    names = dict.fromkeys([HYPER_GRAPH, *(step.graph for step in manifest.entropy.schedule)])
    return {name: stored_model(bundle, manifest.graph(name)) for name in names}


def proved_again(manifest: Manifest, models: Mapping[str, onnx.ModelProto]) -> dict[str, Any]:
    """The certificate, from the files alone.

    Args:
        manifest: of an integer bundle.
        models: from :func:`entropy_models`.

    Raises:
        VerificationError: an accumulator can pass the limit, a file is no integer graph, or the manifest says
            something else of these files.
    """
    try:
        found = summary(prove(models))
    except (IntegerBoundError, GraphError) as error:
        raise VerificationError(
            "the entropy path of this bundle is not exact", expected="a proof", got=str(error), hint=_HINT
        ) from error
    entry = manifest.audit.get("entropy")
    stated = entry.get("certificate") if isinstance(entry, Mapping) else None
    if stated != found:
        raise VerificationError(
            "the certificate in the manifest is not that of the bundle's files",
            expected=_closest(found),
            got="none" if not isinstance(stated, Mapping) else _closest(stated),
            hint=_HINT,
        )
    return found


def _closest(certificate: Mapping[str, Any]) -> str:
    worst, layers = certificate.get("worst"), certificate.get("layers")
    if not isinstance(worst, Mapping) or not isinstance(layers, Sequence):
        return "an entry of another form"
    return f"{len(layers)} layers, the closest {worst.get('layer')} at {worst.get('bound')}"
