"""The options of precision."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ptp_calibration import OBSERVERS
from ptp_export.precision.choices import Loss, PrecisionChoices
from ptp_runtime.errors import UsageError

_EXISTING = click.Path(path_type=Path)


def precision_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options; the command gets one argument ``precision``, a :class:`PrecisionChoices`."""

    @click.option("--fp16", is_flag=True, help="FP16 inside analysis, synthesis and head; never in the entropy path.")
    @click.option(
        "--int8",
        is_flag=True,
        help="INT8 in the convolutions and matrix products of the same graphs; with --fp16 the rest is FP16.",
    )
    @click.option(
        "--observer",
        type=click.Choice(tuple(OBSERVERS)),
        default="mse",
        show_default=True,
        help="Where INT8 saturates, from how often values occur on the calibration photos.",
    )
    @click.option(
        "--best", is_flag=True, help="With --int8: search which layers can be INT8 within these limits (minutes)."
    )
    @click.option(
        "--max-bpp-loss",
        metavar="PERCENT",
        default="1%",
        show_default=True,
        help="Of --best: how much longer streams may get.",
    )
    @click.option(
        "--max-metric-loss",
        metavar="POINTS",
        type=float,
        default=0.5,
        show_default=True,
        help="Of --best: points of 100 of the task's agreement with its teacher.",
    )
    @click.option(
        "--calibration", type=_EXISTING, metavar="DIR", help="Photos to measure on.  [default: the shipped ones]"
    )
    @click.option("--save-ranges", type=_EXISTING, metavar="FILE", help="Keep what was measured, as JSON.")
    @click.option("--ranges", type=_EXISTING, metavar="FILE", help="Take what --save-ranges kept; no photo is run.")
    @functools.wraps(function)
    def command(
        *arguments: Any,
        fp16: bool,
        int8: bool,
        observer: str,
        best: bool,
        max_bpp_loss: str,
        max_metric_loss: float,
        calibration: Path | None,
        save_ranges: Path | None,
        ranges: Path | None,
        **others: Any,
    ) -> Any:
        loss = Loss(_share(max_bpp_loss), max_metric_loss) if best else None
        choices = PrecisionChoices(fp16, int8, observer, loss, calibration, ranges, save_ranges)
        return function(*arguments, precision=choices, **others)

    return command


def _share(text: str) -> float:
    """``1%`` → 0.01."""
    number = text.strip()
    try:
        if not number.endswith("%"):
            raise ValueError(text)
        return float(number[:-1]) / 100
    except ValueError as error:
        raise UsageError("--max-bpp-loss is a share of the bits", expected="such as 1%", got=text) from error
