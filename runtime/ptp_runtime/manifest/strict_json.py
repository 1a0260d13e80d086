"""Reading JSON that may be wrong in any way, one typed error for each.

The manifest of a bundle is input like any other: it can be truncated, hand-edited, written by a newer
exporter, or hostile. :class:`Fields` walks a parsed object and refuses what the reader did not ask for:
a field that is missing, of another type, or unknown. Nothing is guessed and nothing has a default.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

from ptp_runtime.errors import ManifestError

T = TypeVar("T")

_HEX = frozenset("0123456789abcdef")


def parse_object(data: bytes, name: str) -> dict[str, Any]:
    """The JSON object in ``data`` (UTF-8), refusing duplicate keys, NaN and infinities.

    Args:
        data: the whole file.
        name: the file's name, for the messages.

    Raises:
        ManifestError: not UTF-8, not JSON, not an object, nested too deeply, or a key given twice.
    """
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constant)
    except RecursionError:
        # The chained traceback would be thousands of lines of the JSON decoder calling itself.
        raise ManifestError(
            f"{name} is nested too deeply", expected="a manifest written by ptp-export", hint="export the bundle again"
        ) from None
    except ValueError as error:
        raise ManifestError(
            f"{name} is not readable JSON",
            expected="a manifest written by ptp-export",
            got=str(error),
            hint="export the bundle again",
        ) from error
    if not isinstance(value, dict):
        raise ManifestError(
            f"{name} holds no JSON object", expected="an object", got=kind_of(value), hint="export the bundle again"
        )
    return value


def kind_of(value: object) -> str:
    """The JSON name of a parsed value's type, for messages."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, (list, tuple)) else "an object"


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"the key {key!r} stands twice in one object")
            seen.add(key)
    return result


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


class Fields:
    """One JSON object read field by field; :meth:`finish` refuses what was left unread.

    Args:
        value: the parsed value, which must be an object.
        where: its place in the document, such as ``graphs[2]``; empty for the document itself.
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise ManifestError(f"{where} is no object", expected="an object", got=kind_of(value))
        self._value: dict[str, Any] = value
        self._where = where
        self._read: set[str] = set()

    def path(self, name: str) -> str:
        """The place of a field, for messages: ``graphs[2].file``."""
        return f"{self._where}.{name}" if self._where else name

    def has(self, name: str) -> bool:
        """Whether the field stands there; for objects that come in two kinds."""
        return name in self._value

    def names(self) -> tuple[str, ...]:
        """The fields that stand there; for objects whose keys are data."""
        return tuple(self._value)

    def flag(self, name: str) -> bool:
        """True or false."""
        value: bool = self._typed(name, "true or false", lambda v: isinstance(v, bool))
        return value

    def any(self, name: str) -> Any:
        """The field as parsed; missing is an error."""
        self._read.add(name)
        if name not in self._value:
            raise ManifestError(f"the field {self.path(name)} is missing", hint="export the bundle again")
        return self._value[name]

    def _typed(self, name: str, expected: str, ok: Callable[[Any], bool]) -> Any:
        value = self.any(name)
        if not ok(value):
            shown = f"{kind_of(value)} ({_short(value)})"
            raise ManifestError(f"the field {self.path(name)} is of another type", expected=expected, got=shown)
        return value

    def text(self, name: str) -> str:
        """A string that is not empty."""
        value: str = self._typed(name, "a string that is not empty", lambda v: isinstance(v, str) and v != "")
        return value

    def one_of(self, name: str, choices: Sequence[str]) -> str:
        """A string out of ``choices``."""
        value = self.text(name)
        if value not in choices:
            raise ManifestError(
                f"the field {self.path(name)} has a value that this version does not know",
                expected="one of " + ", ".join(choices),
                got=repr(value),
                hint="use the version of ptp-deploy that wrote the bundle, or a newer one",
            )
        return value

    def integer(self, name: str, minimum: int, maximum: int) -> int:
        """An integer between two bounds, both included."""
        value: int = self._typed(name, "an integer", _is_integer)
        if not minimum <= value <= maximum:
            raise ManifestError(
                f"the field {self.path(name)} is out of range",
                expected=f"an integer from {minimum} to {maximum}",
                got=_short(value),
            )
        return value

    def number(self, name: str, minimum: float, maximum: float) -> float:
        """A finite number between two bounds, both included."""
        value = self._typed(name, "a number", _is_number)
        if not minimum <= value <= maximum:
            raise ManifestError(
                f"the field {self.path(name)} is out of range",
                expected=f"a number from {minimum:g} to {maximum:g}",
                got=_short(value),
            )
        return float(value)

    def digest(self, name: str) -> str:
        """A SHA-256 as 64 lower-case hexadecimal digits."""
        value = self.text(name)
        if len(value) != 64 or not _HEX.issuperset(value):
            raise ManifestError(
                f"the field {self.path(name)} is no SHA-256",
                expected="64 lower-case hexadecimal digits",
                got=repr(_short(value)),
            )
        return value

    def sequence(self, name: str, read: Callable[[Any, str], T]) -> tuple[T, ...]:
        """An array, each entry through ``read(entry, place)``."""
        value: list[Any] = self._typed(name, "an array", lambda v: isinstance(v, list))
        return tuple(read(entry, f"{self.path(name)}[{i}]") for i, entry in enumerate(value))

    def integers(self, name: str, count: int | None, minimum: int, maximum: int) -> tuple[int, ...]:
        """An array of integers, of ``count`` entries unless that is None."""
        return self._numbers(name, count, minimum, maximum, _is_integer, "integers")

    def numbers(self, name: str, count: int | None, minimum: float, maximum: float) -> tuple[float, ...]:
        """An array of finite numbers, of ``count`` entries unless that is None."""
        return tuple(float(v) for v in self._numbers(name, count, minimum, maximum, _is_number, "numbers"))

    def _numbers(
        self, name: str, count: int | None, low: float, high: float, ok: Callable[[Any], bool], kind: str
    ) -> tuple[Any, ...]:
        value = self._typed(name, f"an array of {kind}", lambda v: isinstance(v, list) and all(ok(x) for x in v))
        if count is not None and len(value) != count:
            raise ManifestError(
                f"the field {self.path(name)} has another length", expected=f"{count} {kind}", got=str(len(value))
            )
        if any(not low <= entry <= high for entry in value):
            raise ManifestError(
                f"the field {self.path(name)} is out of range",
                expected=f"{kind} from {low:g} to {high:g}",
                got=_short(value),
            )
        return tuple(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """An array of strings, none empty."""
        ok = lambda v: isinstance(v, list) and all(isinstance(x, str) and x for x in v)  # noqa: E731
        return tuple(self._typed(name, "an array of strings that are not empty", ok))

    def mapping(self, name: str) -> Mapping[str, Any]:
        """An object of any content, kept as parsed."""
        value: dict[str, Any] = self._typed(name, "an object", lambda v: isinstance(v, dict))
        return value

    def text_mapping(self, name: str) -> Mapping[str, str]:
        """An object whose values are all strings."""
        ok = lambda v: isinstance(v, dict) and all(isinstance(x, str) for x in v.values())  # noqa: E731
        value: dict[str, str] = self._typed(name, "an object of strings", ok)
        return value

    def fields(self, name: str) -> Fields:
        """A nested object, to be read field by field in its turn."""
        return Fields(self.any(name), self.path(name))

    def finish(self) -> None:
        """Refuse every field that was not read: it may change the meaning of those that were."""
        unknown = sorted(set(self._value) - self._read)
        if unknown:
            raise ManifestError(
                f"the field {self.path(unknown[0])} is unknown to this version",
                expected="only the fields of its schema",
                hint="use the version of ptp-deploy that wrote the bundle, or a newer one",
            )


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    # 1e999 parses to an infinity without passing through parse_constant.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _short(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
