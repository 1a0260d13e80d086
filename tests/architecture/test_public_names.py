"""What looks public is public, and what is public exists: each package's face is its ``__all__``."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from typing import Any

import pytest

FACES = ("ptp_runtime", "ptp_export", "ptp_calibration", "ptp_model")


def _looks_public(tree: ast.Module, package: str) -> set[str]:
    """Names that an ``__init__.py`` defines, or re-exports from below its own package."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(package):
            names.update(alias.asname or alias.name for alias in node.names)
    return {name for name in names if not name.startswith("_")}


def _declared(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
            declared: list[str] = ast.literal_eval(node.value)
            return list(declared)
    return None


def test_what_looks_public_is_declared(sources: tuple[Any, ...], package_folders: dict[str, Path]) -> None:
    wrong = {}
    for source in sources:
        if source.path.name != "__init__.py":
            continue
        below = source.path.parent.relative_to(package_folders[source.package].parent)
        package = ".".join(below.parts)
        looks, declared = _looks_public(source.tree, package), _declared(source.tree)
        if looks != set(declared or ()):
            wrong[source.name] = sorted(looks ^ set(declared or ()))

    assert wrong == {}, "declare these names in __all__, or give them a leading underscore"


@pytest.mark.parametrize("name", FACES)
def test_every_declared_name_exists(name: str) -> None:
    module = importlib.import_module(name)

    assert [declared for declared in getattr(module, "__all__", ()) if not hasattr(module, declared)] == []


def test_the_runtime_has_the_promised_face() -> None:
    module = importlib.import_module("ptp_runtime")

    assert {"Session", "PtpError"} <= set(module.__all__)
