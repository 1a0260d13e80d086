"""Only command-line files read arguments and the environment, print or exit; no value check is an assert."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any

import pytest

FORBIDDEN_CALLS = {"print", "input", "exit", "quit", "sys.exit", "os._exit", "os.getenv"}
FORBIDDEN_NAMES = {"sys.argv", "os.environ"}


def _is_command_line(name: str) -> bool:
    file = name.rpartition("/")[2]
    # worker.py is what a child process of ours runs: its arguments and exit code are its interface.
    return file in {"cli.py", "__main__.py", "worker.py"} or file.endswith("_cli.py") or "/cli/" in name


def _dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _effects(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _dotted(node.func) in FORBIDDEN_CALLS:
            yield f"line {node.lineno}: {_dotted(node.func)}()"
        elif isinstance(node, ast.Attribute) and _dotted(node) in FORBIDDEN_NAMES:
            yield f"line {node.lineno}: {_dotted(node)}"


def _silent_handlers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            everything = node.type is None or _dotted(node.type) in {"Exception", "BaseException"}
            if everything and all(isinstance(statement, ast.Pass) for statement in node.body):
                yield f"line {node.lineno}: every exception is swallowed"


def test_only_command_lines_touch_the_outside(sources: tuple[Any, ...]) -> None:
    found = [
        f"{source.name} {what}"
        for source in sources
        if not _is_command_line(source.name)
        for what in _effects(source.tree)
    ]

    assert found == []


def test_no_assert_guards_a_value(sources: tuple[Any, ...]) -> None:
    found = [
        f"{source.name}:{node.lineno}"
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.Assert)
    ]

    assert found == [], "python -O removes asserts: raise a typed error"


def test_no_exception_is_swallowed(sources: tuple[Any, ...]) -> None:
    assert [f"{source.name} {what}" for source in sources for what in _silent_handlers(source.tree)] == []


@pytest.mark.parametrize("line", ["print(1)", "sys.exit(1)", "x = os.environ['A']", "a = sys.argv[1:]"])
def test_an_effect_is_noticed(line: str) -> None:
    assert list(_effects(ast.parse(line)))


@pytest.mark.parametrize("kind", ["except:", "except Exception:"])
def test_a_silent_handler_is_noticed(kind: str) -> None:
    assert list(_silent_handlers(ast.parse(f"try:\n    f()\n{kind}\n    pass")))
