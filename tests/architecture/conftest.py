"""What the architecture tests look at: the source tree, parsed once."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "ptp_export": ROOT / "export" / "ptp_export",
    "ptp_runtime": ROOT / "runtime" / "ptp_runtime",
    "ptp_calibration": ROOT / "calibration" / "ptp_calibration",
    "ptp_model": ROOT / "ptp_model" / "ptp_model",
}


@dataclass(frozen=True)
class Source:
    """One Python file of ours, with its syntax tree."""

    package: str
    path: Path
    tree: ast.Module

    @property
    def name(self) -> str:
        """Path below the repository, for messages."""
        return self.path.relative_to(ROOT).as_posix()

    def imports(self) -> set[str]:
        """Full names of all modules that any statement of this file imports, wherever it stands.

        ``importlib.import_module("x")`` and ``__import__("x")`` with a literal name count as well.
        """
        found: set[str] = set()
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module)
                found.update(f"{node.module}.{alias.name}" for alias in node.names)
            elif isinstance(node, ast.Call) and _called(node) in {"import_module", "__import__"}:
                first = node.args[0] if node.args else None
                if isinstance(first, ast.Constant) and isinstance(first.value, str):
                    found.add(first.value)
        return found

    def imported_libraries(self) -> set[str]:
        """First parts of :meth:`imports`: ``onnx`` for ``onnx.helper``."""
        return {name.partition(".")[0] for name in self.imports()}


def _called(node: ast.Call) -> str:
    function = node.func
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def package_folders() -> dict[str, Path]:
    """The four packages and where they lie."""
    return dict(PACKAGES)


@pytest.fixture(scope="session")
def sources() -> tuple[Source, ...]:
    """Every Python file of the four packages."""
    found = tuple(
        Source(package, path, ast.parse(path.read_text(encoding="utf-8"), filename=str(path)))
        for package, folder in PACKAGES.items()
        for path in sorted(folder.rglob("*.py"))
    )
    missing = {package for package in PACKAGES if not any(source.package == package for source in found)}
    if missing:
        raise RuntimeError(f"no source files found for {sorted(missing)}: the tests would pass on nothing")
    return found
