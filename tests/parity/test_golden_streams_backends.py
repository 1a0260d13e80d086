"""The golden streams on every backend of this machine: the same symbols, indices and means, to the last one."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ptp_export.interop.configurations.available import all_configurations
from ptp_export.interop.configurations.configuration import Configuration, EntropyFiles
from ptp_runtime.bundle import Bundle
from ptp_runtime.coder import StreamDecoder
from ptp_runtime.decoder import decode_latents
from ptp_runtime.entropy_path import EntropyPath
from ptp_runtime.errors import BackendNotAvailableError
from ptp_runtime.stopwatch import Stopwatch
from ptp_runtime.tables import Tables

STREAMS = Path(__file__).parents[1] / "golden" / "streams"
SETS = ("checkerboard", "split", "zigzag")
#: Compiling takes half a minute: one set in every run, `make soak` the others.
CASES = [
    pytest.param(
        name,
        one,
        id=f"{name}-{one.name}",
        marks=pytest.mark.soak if one.name == "torch compiled" and name != "checkerboard" else (),
    )
    for one in all_configurations()
    for name in SETS
]
#: What must never be passed over.
ALWAYS = ("onnxruntime, level none, 1 thread", "torch eager, 1 thread", "openvino, 1 thread", "numpy oracle")


def _crc(values: NDArray[Any], dtype: str) -> str:
    return f"{zlib.crc32(np.ascontiguousarray(values.astype(dtype)).tobytes()):08x}"


# TorchInductor uses torch's own deprecated decorators.
@pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize(("name", "configuration"), CASES)
def test_a_backend_decodes_every_symbol(name: str, configuration: Configuration) -> None:
    bundle = Bundle.open(STREAMS / name / "bundle")
    tables = Tables.from_bytes(bundle.read(bundle.manifest.entropy.tables))
    try:
        opened = configuration.open(EntropyFiles.of(bundle))
    except BackendNotAvailableError as error:
        if configuration.name in ALWAYS:
            raise
        pytest.skip(error.message)
    path = EntropyPath(bundle.manifest, opened.graphs, tables.scale_count)
    entries = json.loads((STREAMS / name / "expected.json").read_text(encoding="utf-8"))["streams"]
    assert entries
    try:
        for entry in entries:
            coder = StreamDecoder((STREAMS / name / entry["stream"]).read_bytes(), tables)
            height, width = coder.header.height, coder.header.width
            shape = (bundle.manifest.entropy.latent_channels, -(-height // 64) * 4, -(-width // 64) * 4)
            latents = decode_latents(path, coder, shape, Stopwatch(), keep_steps=True)
            assert _crc(latents.z, "<i4") == entry["z"]
            assert _crc(latents.y_int[0], "<i4") == entry["y_int"]
            found = [
                {"symbols": _crc(s.symbols, "<i4"), "index": _crc(s.index, "u1"), "mean": _crc(s.mean, "<i2")}
                for s in latents.steps
            ]
            assert found == entry["steps"], entry["stream"]
    finally:
        opened.close()
