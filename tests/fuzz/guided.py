"""``python -m tests.fuzz.guided``: the same targets by coverage, with atheris: an input that reaches new code is kept.

Only code in Python is watched. The coder's kernels are compiled by Numba, whose compiler reads the bytecode that
atheris would change, so they stay as they are: their turn is ``python -m tests.fuzz``.
"""

# ruff: noqa: E402 - what is watched must be imported first, under atheris
from __future__ import annotations

import random
import sys
import tempfile
from importlib import import_module
from pathlib import Path

import atheris
import click

WATCHED = ("bitstream", "manifest", "tables", "rate_gains", "golden.stored", "images")
SERVED = ("service.serve.tensors", "service.serve.requests", "service.serve.http_messages")


def _watch(names: tuple[str, ...]) -> None:
    with atheris.instrument_imports(include=[f"ptp_runtime.{name}" for name in names]):
        for name in names:
            import_module(f"ptp_runtime.{name}")


_watch(WATCHED)
# What is imported meanwhile is watched, too: the kernels must be there before.
import_module("ptp_runtime.shared_session")
_watch(SERVED)

from tests.fuzz.targets import TARGETS

from ptp_runtime.errors import PtpError


@click.command()
@click.option("--target", "name", default="bundle", show_default=True, type=click.Choice(list(TARGETS)))
@click.option("--count", default=10_000, show_default=True)
@click.option("--seed", default=1, show_default=True)
def main(name: str, count: int, seed: int) -> None:
    """Run one target; atheris ends the process itself, with a file that holds the input if one crashes."""
    target = TARGETS[name]()

    def read(data: bytes) -> None:
        if not data:
            return
        try:
            target.read(data)
        except PtpError:
            return

    def mutate(data: bytes, most: int, number: int) -> bytes:
        chance = random.Random(number)
        if chance.randrange(3):
            try:
                return bytes(target.mutate(chance, data)[:most])
            except (IndexError, ValueError):
                # No stream any more whose parts could be told apart.
                return bytes(target.mutate(chance, chance.choice(target.samples))[:most])
        return bytes(atheris.Mutate(data, most))

    corpus = Path(tempfile.mkdtemp(prefix="ptp-corpus-"))
    for number, sample in enumerate(target.samples):
        (corpus / str(number)).write_bytes(sample)
    options = [f"-runs={count}", f"-seed={seed}", "-max_len=32768", "-timeout=20", "-rss_limit_mb=4096", str(corpus)]
    atheris.Setup([sys.argv[0], *options], read, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
