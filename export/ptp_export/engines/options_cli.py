"""The options of engine builds, for every command that builds some."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ptp_export.engines.choices import BuildChoices
from ptp_runtime.manifest import COMPATIBILITIES, PROOF_LEVELS
from ptp_runtime.user_cache import user_cache

CACHE_VARIABLE = "PTP_ENGINE_CACHE"


def engine_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets one argument ``choices``, a :class:`BuildChoices`."""

    @click.option(
        "--engine-cache",
        metavar="DIR|off",
        envvar=CACHE_VARIABLE,
        help="Where engines are kept to be used again.  [default: ptp-deploy/engines in the user's cache]",
    )
    @click.option(
        "--compatible",
        type=click.Choice(COMPATIBILITIES),
        multiple=True,
        help="Engines for any GPU from Ampere on, or for later versions of the library; slower. Repeatable.",
    )
    @click.option(
        "--strip-weights",
        is_flag=True,
        help="Small engines without weights: the runtime takes those of the ONNX files.",
    )
    @click.option(
        "--require-proof",
        type=click.Choice(PROOF_LEVELS),
        default=None,
        help="Fail unless each engine's precision is proved at this level; 'engine' needs a GPU.",
    )
    @functools.wraps(function)
    def command(
        *arguments: Any,
        engine_cache: str | None,
        compatible: tuple[str, ...],
        strip_weights: bool,
        require_proof: str | None,
        **others: Any,
    ) -> Any:
        choices = BuildChoices(
            tuple(dict.fromkeys(compatible)), strip_weights, require_proof or "", cache_folder(engine_cache)
        )
        return function(*arguments, choices=choices, **others)

    return command


def cache_folder(asked: str | None) -> Path | None:
    """The folder of cached engines: the user's, another one, or None for ``off``."""
    if asked is None or asked == "":
        return user_cache("engines")
    return None if asked == "off" else Path(asked)
