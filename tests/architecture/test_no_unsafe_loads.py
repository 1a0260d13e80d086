"""Nothing that is read can run code: no pickle, no torch.load without weights_only, no eval."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest

UNPICKLERS = {"pickle", "cPickle", "_pickle", "dill", "joblib", "cloudpickle", "shelve", "marshal"}
# Loaders of torch that always unpickle or run what they read.
TORCH_LOADERS = {"torch.jit.load", "torch.package.PackageImporter", "torch.hub.load", "torch.classes.load_library"}


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _unsafe(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _dotted(node.func)
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        if name.partition(".")[0] in UNPICKLERS or name in {"eval", "exec", "compile"} | TORCH_LOADERS:
            yield f"line {node.lineno}: {name}"
        elif name == "torch.load" and not _is_true(keywords.get("weights_only")):
            yield f"line {node.lineno}: torch.load without weights_only=True"
        elif name.endswith("load") and "allow_pickle" in keywords and not _is_false(keywords["allow_pickle"]):
            yield f"line {node.lineno}: {name} with allow_pickle"
        elif name.endswith(("add_safe_globals", "safe_globals")):
            yield f"line {node.lineno}: {name} widens what torch.load may run"


def _is_true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _is_false(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def test_no_unsafe_load(sources: tuple[Any, ...]) -> None:
    assert [f"{source.name} {what}" for source in sources for what in _unsafe(source.tree)] == []


def test_no_from_import_hides_a_loader(sources: tuple[Any, ...]) -> None:
    hidden = {f"{library}.{name}" for library in UNPICKLERS for name in ("load", "loads", "Unpickler")} | {"torch.load"}

    assert [f"{source.name} {name}" for source in sources for name in sorted(source.imports() & hidden)] == []


@pytest.mark.parametrize(
    "call",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "numpy.load(path, allow_pickle=True)",
        "pickle.loads(data)",
        "torch.hub.load('a', 'b')",
        "eval(text)",
    ],
)
def test_an_unsafe_call_is_noticed(call: str) -> None:
    assert list(_unsafe(ast.parse(call)))


@pytest.mark.parametrize("call", ["torch.load(path, weights_only=True)", "numpy.load(path, allow_pickle=False)"])
def test_a_safe_call_is_not(call: str) -> None:
    assert list(_unsafe(ast.parse(call))) == []
