"""Which models a service has: every operation of every task of its bundles."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ptp_runtime.errors import UnknownModelError, UsageError
from ptp_runtime.manifest.model import SIDE_ROLES
from ptp_runtime.service.serve.model import OPERATIONS, VERSION, ServedModel
from ptp_runtime.shared_session import SharedSession

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")


class Catalogue:
    """The models by name, and the sessions behind them.

    Args:
        sessions: by the prefix of their models' names; empty for none.

    Raises:
        UsageError: two bundles serve the same task under the same name.
    """

    def __init__(self, sessions: Mapping[str, Sequence[SharedSession]]) -> None:
        self._sessions = [session for group in sessions.values() for session in group]
        self._models: dict[str, ServedModel] = {}
        for prefix, group in sessions.items():
            for session in group:
                for model in _models(prefix, session):
                    if model.name in self._models:
                        raise UsageError(
                            f"two bundles serve {model.name!r}",
                            expected="one bundle for each task, or names",
                            hint="give them names: ptp serve street=BUNDLE indoor=BUNDLE",
                        )
                    self._models[model.name] = model

    @classmethod
    def open(cls, bundles: Sequence[str], **choices: Any) -> Catalogue:
        """Open bundles.

        Args:
            bundles: paths; each may have a name before it: ``NAME=PATH``.
            choices: of :meth:`SharedSession.open <ptp_runtime.SharedSession.open>`.

        Raises:
            PtpError: a bundle does not open; UsageError: see :class:`Catalogue`.
        """
        opened: dict[str, list[SharedSession]] = {}
        try:
            for text in bundles:
                prefix, path = named_bundle(text)
                opened.setdefault(prefix, []).append(SharedSession.open(path, **choices))
            return cls(opened)
        except BaseException:
            for session in (one for group in opened.values() for one in group):
                session.close()
            raise

    @property
    def workers(self) -> int:
        """How many photos the sessions would work on at a time: the most that any of them says."""
        return max(session.session().speed.workers for session in self._sessions)

    def __iter__(self) -> Iterator[ServedModel]:
        return iter(self._models.values())

    def model(self, name: str, version: str = "") -> ServedModel:
        """A model.

        Args:
            name: of it.
            version: empty for any.

        Raises:
            UnknownModelError: no such model or version.
        """
        if name not in self._models or version not in ("", VERSION):
            raise UnknownModelError(
                f"there is no model {name[:80]!r}" + (f" of version {version[:80]!r}" if version else ""),
                expected=f"version {VERSION} of {', '.join(self._models)}",
            )
        return self._models[name]

    def close(self) -> None:
        """Close the sessions."""
        for session in self._sessions:
            session.close()


def _models(prefix: str, session: SharedSession) -> Iterator[ServedModel]:
    start = f"{prefix}_" if prefix else ""
    for task in session.tasks:
        roles = SIDE_ROLES[session.session(task).manifest.side]
        able = {"encode": "analysis" in roles, "decode": "head" in roles}
        able["infer"] = all(able.values())
        for operation in OPERATIONS:
            if able[operation]:
                yield ServedModel(f"{start}{task}_{operation}", operation, session, task)


def named_bundle(text: str) -> tuple[str, str]:
    """Name and path of ``NAME=PATH``, or no name and the path.

    Raises:
        UsageError: the name cannot be one.
    """
    name, equals, path = text.partition("=")
    if not equals or Path(text).exists():
        return "", text
    if not _NAME.fullmatch(name):
        raise UsageError(
            "a bundle cannot have this name", expected="letters, digits and hyphens", got=repr(name), hint="NAME=BUNDLE"
        )
    return name, path
