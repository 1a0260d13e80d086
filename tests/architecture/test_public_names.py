"""What looks public is public, and what is public exists: each package's face is its ``__all__``."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest

FACES = ("ptp_runtime", "ptp_export", "ptp_calibration", "ptp_model")


def _defined(tree: ast.Module) -> set[str]:
    """Public-looking names that an ``__init__.py`` defines itself."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return {name for name in names if not name.startswith("_")}


def _imported_from(tree: ast.Module, package: str) -> set[str]:
    """Names that the file takes from below its own package, under ``if TYPE_CHECKING`` too."""
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    ours = [node for node in imports if (node.module or "").partition(".")[0] == package]
    return {alias.asname or alias.name for node in ours for alias in node.names}


def _declared(tree: ast.Module) -> set[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            return set(ast.literal_eval(node.value))
    return None


def test_the_face_of_each_package_is_declared(sources: tuple[Any, ...], package_folders: dict[str, Path]) -> None:
    faces = {s.package: s.tree for s in sources if s.path == package_folders[s.package] / "__init__.py"}
    looks = {package: _defined(tree) | _imported_from(tree, package) for package, tree in faces.items()}

    assert set(faces) == set(FACES)
    assert looks == {package: _declared(tree) or set() for package, tree in faces.items()}


def test_what_an_inner_package_defines_is_declared(sources: tuple[Any, ...]) -> None:
    hidden, imagined = {}, {}
    for source in sources:
        declared = _declared(source.tree) if source.path.name == "__init__.py" else None
        if declared is not None:
            hidden[source.name] = _defined(source.tree) - declared
            imagined[source.name] = declared - _defined(source.tree) - _imported_from(source.tree, source.package)

    assert {name: missing for name, missing in hidden.items() if missing} == {}, "defined, yet not in __all__"
    assert {name: missing for name, missing in imagined.items() if missing} == {}, "in __all__, yet nowhere defined"


@pytest.mark.parametrize("name", FACES)
def test_every_declared_name_exists(name: str) -> None:
    module = importlib.import_module(name)

    assert [declared for declared in getattr(module, "__all__", ()) if not hasattr(module, declared)] == []


def test_the_runtime_has_the_promised_face() -> None:
    module = importlib.import_module("ptp_runtime")

    assert {"Session", "PtpError"} <= set(module.__all__)
