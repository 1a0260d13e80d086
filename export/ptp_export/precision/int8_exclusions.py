"""Which products stay in floats inside an INT8 graph, and why; audit and manifest repeat the names."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx

from ptp_export.precision.exclusions import Exclusion, gdn_nodes, stem_nodes
from ptp_export.precision.int8 import quantisable
from ptp_export.precision.typed_graph import MOVEMENT, PRODUCTS, TypedGraph


def not_in_int8(typed: TypedGraph) -> tuple[Exclusion, ...]:
    """All exclusions of a graph; a product is in the first that names it.

    Args:
        typed: the FP32 graph.
    """
    rules: tuple[tuple[str, str, Callable[[], Iterable[str]]], ...] = (
        ("prompts", "its weights are a task's, and come as inputs", lambda: _prompts(typed)),
        ("activations", "both factors are activations (attention)", lambda: _without_weights(typed)),
        ("groups", "a transposed convolution in groups has no weights by output channel", lambda: _grouped(typed)),
        ("gdn", "GDN sums squares, whose range is that of the activations twice over", lambda: gdn_nodes(typed)),
        ("stem", "the teacher's own first layers: no bit brings back what is rounded there", lambda: stem_nodes(typed)),
        (
            "probabilities",
            "it sums probabilities, most of which are far below the largest and would become 0",
            lambda: _of_probabilities(typed),
        ),
        (
            "output",
            "what it gives is rounded to symbols or taken for the answer: no layer evens its error out",
            lambda: _last(typed),
        ),
    )
    products = {node.name for node in typed.graph.node if node.op_type in PRODUCTS}
    taken: set[str] = set()
    found = []
    for name, reason, rule in rules:
        nodes = (frozenset(rule()) & products) - taken
        if nodes:
            found.append(Exclusion(name, reason, nodes))
            taken |= nodes
    return tuple(found)


def _prompts(typed: TypedGraph) -> Iterable[str]:
    """The products whose weights are inputs of the graph."""
    given = {value.name for value in typed.graph.input} - set(typed.weights)
    for node in typed.graph.node:
        if node.op_type in PRODUCTS and node.input[1] in given:
            yield node.name


def _without_weights(typed: TypedGraph) -> Iterable[str]:
    for node in typed.graph.node:
        if node.op_type in PRODUCTS and not any(name in typed.weights for name in node.input[:2]):
            yield node.name


def _grouped(typed: TypedGraph) -> Iterable[str]:
    possible = quantisable(typed)
    return (node.name for node in typed.graph.node if node.op_type in PRODUCTS and node.name not in possible)


def _of_probabilities(typed: TypedGraph) -> Iterable[str]:
    """The products that read a softmax, moved or not."""
    for node in typed.graph.node:
        if node.op_type not in PRODUCTS:
            continue
        writer = typed.writers.get(node.input[0])
        while writer is not None and writer.op_type in MOVEMENT:
            writer = typed.writers.get(writer.input[0])
        if writer is not None and writer.op_type == "Softmax":
            yield node.name


def _last(typed: TypedGraph) -> Iterable[str]:
    """The products that no other product follows on the way to an output."""
    waiting = [value.name for value in typed.graph.output]
    seen = set()
    while waiting:
        writer = typed.writers.get(waiting.pop())
        if writer is None or writer.name in seen:
            continue
        seen.add(writer.name)
        if writer.op_type in PRODUCTS:
            yield writer.name
        elif _passes(writer):
            waiting.extend(writer.input)


def _passes(node: onnx.NodeProto) -> bool:
    """Whether a node hands its inputs' errors on as they are."""
    return node.op_type in MOVEMENT or node.op_type in ("Add", "Sub", "Mul", "Clip", "Concat")
