"""The integer entropy path of a task: graphs, golden test and what is to be known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ptp_calibration.integer_path import ConversionReport, LatentSample, convert
from ptp_export.entropy.certificate import summary
from ptp_export.entropy.golden import golden_test
from ptp_export.entropy.network_from_model import network_from_model
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.oracle.reference import ReferenceChain
from ptp_runtime.golden import GoldenTest


@dataclass(frozen=True)
class IntegerExport:
    """What a bundle with an integer entropy path has of it.

    Attributes:
        graphs: ``hyper`` and the steps, in coding order.
        golden: the self-test of every backend.
        certificate: see :func:`ptp_export.entropy.certificate.summary`.
        report: what the conversion cost.
    """

    graphs: tuple[OnnxGraph, ...]
    golden: GoldenTest
    certificate: Mapping[str, Any]
    report: ConversionReport

    def audit(self) -> dict[str, Any]:
        """The entry ``entropy`` of the manifest's audit, as JSON values."""
        report = self.report
        return {
            "precision": str(report.precision),
            "certificate": dict(self.certificate),
            "calibration_cost": {
                "samples": len(report.float_bits),
                "float_bits": round(sum(report.float_bits)),
                "integer_bits": round(sum(report.integer_bits)),
                "cost": round(report.cost, 6),
            },
            "clipped": {name: round(share, 6) for name, share in report.clipped.items() if share},
        }


def integer_export(chain: ReferenceChain, samples: Sequence[LatentSample]) -> IntegerExport:
    """Convert a task's entropy path. Height and width are free, also where the rest of a bundle has one size.

    Args:
        chain: the codec, with the task's prompts.
        samples: to calibrate on; the golden test is made of the last one.

    Raises:
        IntegerPathError: the path cannot be converted or proved.
        ExportError: a graph is no valid ONNX.
    """
    codec = chain.codec
    schedule = codec.context.schedule
    path = convert(network_from_model(codec, chain.prompts), samples)
    return IntegerExport(
        graphs=tuple(onnx_graph(name, "entropy", model, integer=True) for name, model in path.graphs.items()),
        golden=golden_test(path.graphs, samples[-1], schedule, codec.spec.skip_index),
        certificate=summary(path.proofs),
        report=path.report,
    )
