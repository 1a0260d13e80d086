"""The limits of a verification, read from ``limits.toml``."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from ptp_runtime.errors import VerificationError

_FILE = "limits.toml"


@dataclass(frozen=True)
class FloatLimit:
    """``worst``: of the largest error over the largest value; ``typical``: of the relative root mean square error."""

    worst: float
    typical: float


@dataclass(frozen=True)
class IntegerLimit:
    """``differing``: share of values that may differ; ``largest``: by how much."""

    differing: float
    largest: int


@dataclass(frozen=True)
class ChainLimit:
    """Shares of symbols that may differ, the relative error of h, and the disagreement of the output."""

    z_differing: float
    symbols_differing: float
    feature: float
    disagreement: float


@dataclass(frozen=True)
class GateLimit:
    """``bits``: share by which streams may be longer; ``metric``: points of the task's figure that may be lost."""

    bits: float
    metric: float


@dataclass(frozen=True)
class Limits:
    """All limits, as written.

    Attributes:
        tables: section → entries in order.
        sha256: of the file, to name it in a report.
    """

    tables: Mapping[str, Sequence[Mapping[str, Any]]]
    sha256: str

    @classmethod
    def load(cls, path: Path | None = None) -> Limits:
        """Read a file of limits; the package's own by default.

        Raises:
            VerificationError: unreadable, or an entry without a reason.
        """
        source = path if path is not None else Path(str(resources.files("ptp_export.verify"))) / _FILE
        try:
            data = source.read_bytes()
            tables = tomllib.loads(data.decode())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise VerificationError(f"the limits in {source.name} cannot be read", got=str(error)) from error
        for section, entries in tables.items():
            for entry in entries:
                if not entry.get("why"):
                    raise VerificationError(
                        f"a limit in {source.name} gives no reason", expected="why", got=f"[[{section}]] {entry}"
                    )
        return cls(tables, hashlib.sha256(data).hexdigest())

    def float_limit(self, role: str, precision: str, tensor: str) -> FloatLimit:
        """Of a float output of one graph."""
        entry = self._find("float", role=role, precision=precision, tensor=tensor)
        return FloatLimit(float(entry["worst"]), float(entry["typical"]))

    def integer_limit(self, role: str, precision: str, tensor: str) -> IntegerLimit:
        """Of an integer output of one graph."""
        entry = self._find("integer", role=role, precision=precision, tensor=tensor)
        return IntegerLimit(float(entry["differing"]), int(entry["largest"]))

    def chain_limit(self, precision: str, task: str) -> ChainLimit:
        """Of the whole chain."""
        chain = self._find("chain", precision=precision, task=task)
        output = self._find("output", precision=precision, task=task)
        return ChainLimit(
            float(chain["z_differing"]),
            float(chain["symbols_differing"]),
            float(chain["feature"]),
            float(output["disagreement"]),
        )

    def rate_limit(self, task: str) -> float:
        """By what share an integer entropy path may make streams longer."""
        return float(self._find("rate", task=task)["cost"])

    def gate_limit(self, precision: str, task: str) -> GateLimit:
        """What a precision may cost."""
        entry = self._find("gate", precision=precision, task=task)
        return GateLimit(float(entry["bits"]), float(entry["metric"]))

    def _find(self, section: str, **keys: str) -> Mapping[str, Any]:
        for entry in self.tables.get(section, ()):
            if all(entry.get(key) in ("*", value) for key, value in keys.items()):
                return entry
        raise VerificationError(
            "there is no limit to check against",
            expected=f"an entry [[{section}]] for {', '.join(f'{key} {value}' for key, value in keys.items())}",
            hint="write the limit down before comparing",
        )
