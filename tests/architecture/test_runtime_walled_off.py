"""The runtime imports, module by module, in a process where torch, onnx and their friends cannot be imported.

Static rules miss a name that is computed and a library that drags another one in; this process meets both.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.runtime

# Printed by the child: the modules it imported, the imports of forbidden libraries that were attempted (even where the
# ImportError was swallowed) and the heavy libraries that were loaded by the import of the public face alone.
_CHILD = """
import importlib, json, pkgutil, sys, types

FORBIDDEN = {
    "torch", "torchvision", "compressai", "onnx", "onnx_ir", "onnxscript", "polygraphy", "safetensors", "scipy",
    "pandas", "matplotlib", "rich", "ptp_export", "ptp_calibration", "ptp_model",
}
OPTIONAL = {
    "onnxruntime", "tensorrt", "tensorrt_rtx", "cuda", "cryptography",
    "grpc", "google", "prometheus_client", "starlette", "uvicorn", "triton_python_backend_utils",
    "pyarrow", "ray",
}
attempted = []

def importer():
    frame = sys._getframe(1)
    while frame and (module_of(frame).startswith("importlib") or frame.f_code.co_name == "find_spec"):
        frame = frame.f_back
    return module_of(frame) if frame else ""

def module_of(frame):
    return frame.f_globals.get("__name__", "")

class Wall:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in FORBIDDEN:
            asker = importer()
            if asker.startswith("ptp_"):  # numba looks for scipy by itself, and does without
                attempted.append(f"{asker} asked for {name}")
            raise ModuleNotFoundError(f"{name} is walled off", name=name)
        return None

sys.meta_path.insert(0, Wall())

import ptp_runtime
import ptp_runtime.cli
loaded_early = sorted(OPTIONAL & set(sys.modules))

imported, absent = [], []
for module in pkgutil.walk_packages(ptp_runtime.__path__, "ptp_runtime."):
    if module.name.rpartition(".")[2] == "__main__":
        continue
    try:
        importlib.import_module(module.name)
        imported.append(module.name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in OPTIONAL:
            raise
        absent.append(module.name)
planted = types.ModuleType("ptp_runtime_planted")
noticed_before = len(attempted)
exec("try:\\n    import torch\\nexcept ImportError:\\n    pass", planted.__dict__)
noticed = attempted[noticed_before:]
del attempted[noticed_before:]

names = ("imported", "absent", "attempted", "noticed", "loaded_early")
print(json.dumps({name: globals()[name] for name in names}))
"""


@pytest.fixture(scope="module")
def child(root: Path) -> dict[str, list[str]]:
    """What the walled-off process reported."""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(root / 'runtime')!r})\n{_CHILD}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, list[str]] = json.loads(done.stdout)
    return report


def test_every_module_was_reached(child: dict[str, list[str]], root: Path) -> None:
    files = {
        ".".join(path.relative_to(root / "runtime").with_suffix("").parts).removesuffix(".__init__")
        for path in (root / "runtime" / "ptp_runtime").rglob("*.py")
        if path.stem != "__main__"
    } - {"ptp_runtime"}

    assert files == set(child["imported"]) | set(child["absent"])


def test_the_wall_notices_a_swallowed_import(child: dict[str, list[str]]) -> None:
    assert child["noticed"] == ["ptp_runtime_planted asked for torch"]


def test_nothing_forbidden_was_asked_for(child: dict[str, list[str]]) -> None:
    assert child["attempted"] == []


def test_engines_are_not_loaded_before_they_are_chosen(child: dict[str, list[str]]) -> None:
    assert child["loaded_early"] == []
