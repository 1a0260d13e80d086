"""The integer entropy path of a task: graphs, golden test and what is to be known of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from ptp_calibration.integer_path import ConversionReport, IntegerPath, LatentSample, convert
from ptp_export.entropy.certificate import summary
from ptp_export.entropy.golden import golden_test
from ptp_export.entropy.network_from_model import network_from_model
from ptp_export.onnx_graph import OnnxGraph, onnx_graph
from ptp_export.onnx_passes.declare_interface import DeclareInterface
from ptp_export.onnx_passes.strip_metadata import StripMetadata
from ptp_export.oracle.reference import ReferenceChain
from ptp_export.sizes import Size
from ptp_export.tensor_spec import TensorSpec
from ptp_model.context.schedule import QUADRANTS, Step
from ptp_runtime.golden import GoldenTest
from ptp_runtime.manifest import HYPER_GRAPH

_LATENT_FACTOR, _QUADRANT_FACTOR = 4, 2


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


def integer_export(chain: ReferenceChain, samples: Sequence[LatentSample], size: Size | None) -> IntegerExport:
    """Convert a task's entropy path.

    Args:
        chain: the codec, with the task's prompts.
        samples: to calibrate on; the golden test is made of the last one.
        size: photo size of a static export; None leaves height and width free.

    Raises:
        IntegerPathError: the path cannot be converted or proved.
        ExportError: a graph is no valid ONNX.
    """
    codec = chain.codec
    schedule = codec.context.schedule
    path = convert(network_from_model(codec, chain.prompts), samples)
    return IntegerExport(
        graphs=tuple(_graphs(path, schedule, size)),
        golden=golden_test(path.graphs, samples[-1], schedule, codec.spec.skip_index),
        certificate=summary(path.proofs),
        report=path.report,
    )


def _graphs(path: IntegerPath, schedule: Sequence[Step], size: Size | None) -> list[OnnxGraph]:
    """The files with the bundle's words for sizes."""
    factors = {"z_hat": 1, "y_int": _LATENT_FACTOR, "mu_hyper": _LATENT_FACTOR}
    for step in schedule:
        # What a step reads of the hyper graph, and all that it gives, spans its own box.
        factor = _QUADRANT_FACTOR if step.region in QUADRANTS else _LATENT_FACTOR
        model = path.graphs[step.name]
        own = {value.name: factor for value in (*model.graph.input, *model.graph.output)}
        factors = own | factors
    graphs = []
    for name in (HYPER_GRAPH, *(step.name for step in schedule)):
        model = StripMetadata()(path.graphs[name])
        inputs = tuple(_spec(value, factors[value.name]) for value in model.graph.input)
        outputs = tuple(_spec(value, factors[value.name]) for value in model.graph.output)
        bindings = None if size is None else size.bindings()
        graphs.append(onnx_graph(name, "entropy", DeclareInterface(inputs, outputs, bindings)(model), integer=True))
    return graphs


def _spec(value: onnx.ValueInfoProto, factor: int) -> TensorSpec:
    tensor = value.type.tensor_type
    rows, columns = ("h", "w") if factor == 1 else (f"{factor}*h", f"{factor}*w")
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name
    return TensorSpec(value.name, dtype, (1, tensor.shape.dim[1].dim_value, rows, columns))
