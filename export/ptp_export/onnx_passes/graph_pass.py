"""A graph edit as an object with a contract, after onnx/ir-py's pass infrastructure."""

from __future__ import annotations

import abc

import onnx

from ptp_runtime.errors import ExportError


class PassContractError(ExportError):
    """A pass was given a model it does not handle, or did not deliver what it promises."""


class GraphPass(abc.ABC):
    """``pass(model)`` returns an edited copy; ``requires`` is checked before, ``ensures`` after."""

    @property
    def name(self) -> str:
        """What error messages call the pass."""
        return type(self).__name__

    def __call__(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Run the pass.

        Raises:
            PassContractError: the model is not one the pass handles, or the result is not what it promises.
        """
        self.requires(model)
        result = onnx.ModelProto()
        result.CopyFrom(model)
        self.edit(result)
        self.ensures(model, result)
        return result

    def requires(self, model: onnx.ModelProto) -> None:  # noqa: B027 - most passes take any model
        """Raise :class:`PassContractError` unless ``model`` is one the pass handles."""

    @abc.abstractmethod
    def edit(self, model: onnx.ModelProto) -> None:
        """Change ``model`` in place (it is the pass's own copy)."""

    def ensures(self, before: onnx.ModelProto, after: onnx.ModelProto) -> None:  # noqa: B027
        """Raise :class:`PassContractError` unless ``after`` is what the pass promises."""

    def violated(self, message: str, *, expected: str = "", got: str = "", hint: str = "") -> PassContractError:
        """The error to raise, with the pass's name in front."""
        return PassContractError(f"{self.name}: {message}", expected=expected, got=got, hint=hint)


def consumers(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Value name → nodes that read it, in the graph's order."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in dict.fromkeys(node.input):
            if name:
                readers.setdefault(name, []).append(node)
    return readers


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Value name → the node that writes it."""
    return {name: node for node in graph.node for name in node.output if name}
