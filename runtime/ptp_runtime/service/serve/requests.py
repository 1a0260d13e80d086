"""What a request asks and what answers it, whichever protocol brought it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ptp_runtime.errors import RequestError
from ptp_runtime.service.serve.tensors import Tensor

Parameter = bool | int | float | str


@dataclass(frozen=True)
class Request:
    """One inference request.

    Attributes:
        inputs: by name.
        parameters: of the whole request.
        outputs: names that are wanted; empty: the model's usual ones.
        id: which the response repeats.
    """

    inputs: Mapping[str, Tensor]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    id: str = ""


@dataclass(frozen=True)
class Response:
    """What came of a request.

    Attributes:
        model: its name.
        version: of the model.
        outputs: in the order that was asked for.
        id: of the request.
    """

    model: str
    version: str
    outputs: tuple[Tensor, ...]
    id: str = ""


def parameter(parameters: Mapping[str, Any], name: str, kind: type[Any], default: Any) -> Any:
    """A parameter of a request.

    Args:
        parameters: of the request.
        name: which.
        kind: ``bool`` or ``int``.
        default: where it is not given.

    Raises:
        RequestError: of another kind.
    """
    value = parameters.get(name, default)
    if value is default:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RequestError(f"the parameter {name!r} is of another kind", expected=kind.__name__, got=repr(value)[:80])
    return value
