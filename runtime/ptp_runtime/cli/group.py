"""The group ``ptp``: its own commands, and those that other packages register under ``ptp.commands``.

Nothing heavy is imported before a command runs: ``ptp --help`` needs neither numba nor torch.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import entry_points

import click

from ptp_runtime.cli.outcome import run_command
from ptp_runtime.errors import MissingExtraError

ENTRY_POINT_GROUP = "ptp.commands"

_OWN = {
    "encode": ("ptp_runtime.cli.encode_cli:encode", "A photo to a stream."),
    "decode": ("ptp_runtime.cli.decode_cli:decode", "A stream to a mask, boxes or a picture."),
    "infer": ("ptp_runtime.cli.infer_cli:infer", "A photo to a stream, its result and a picture to look at."),
    "inspect": ("ptp_runtime.cli.inspect_cli:inspect", "What a bundle or a stream holds."),
    "split": ("ptp_runtime.cli.split_cli:split", "The encoder's or the decoder's side of a bundle."),
    "sign": ("ptp_runtime.cli.sign_cli:sign", "A bundle's signature, or the digest that pins it."),
    "serve": ("ptp_runtime.cli.serve_cli:serve", "Bundles over HTTP and gRPC, and a page to drop a photo on."),
    "bulk": ("ptp_runtime.cli.bulk_cli:bulk", "Millions of photos, resumable, on processes or on Ray."),
    "export-triton": ("ptp_runtime.cli.export_triton_cli:export_triton", "A bundle as a model repository of Triton."),
    "profile": ("ptp_runtime.cli.profile_cli:profile", "Where the time goes, and why it sometimes takes longer."),
    "doctor": ("ptp_runtime.cli.doctor_cli:doctor", "What this machine has and lacks."),
}

_OTHERS = {
    "export": ("export", "A trained codec to a bundle.  [extra: export]"),
    "verify": ("export", "A bundle against PyTorch, on photos.  [extra: export]"),
    "eval": ("eval", "A codec beside JPEG, WebP, AVIF, HEVC.  [extra: eval]"),
    "interop": ("interop", "Streams of every backend, decoded by every backend.  [extra: interop]"),
    "train": ("export", "Train the codec or a task's prompts.  [extra: export]"),
    "import-checkpoint": ("export", "Weights from elsewhere to a checkpoint.  [extra: export]"),
}
"""Commands of the other packages: the extra that they need and their line in the help."""


class PtpGroup(click.Group):
    """Commands by name, imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The runtime's commands in the order of use, then the others."""
        registered = sorted(point.name for point in entry_points(group=ENTRY_POINT_GROUP))
        return list(dict.fromkeys([*_OWN, *_OTHERS, *registered]))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None where there is none of that name.

        Raises:
            MissingExtraError: what the command needs is not installed.
        """
        if cmd_name in _OWN:
            module, _, attribute = _OWN[cmd_name][0].partition(":")
            own: click.Command = getattr(import_module(module), attribute)
            return own
        points = [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name == cmd_name]
        if not points and cmd_name not in _OTHERS:
            return None
        extra = _OTHERS[cmd_name][0] if cmd_name in _OTHERS else "the package that registers the command"
        if not points:
            raise _missing(cmd_name, extra, "the command is not installed")
        try:
            command: click.Command = points[0].load()
        except ImportError as error:
            raise _missing(cmd_name, extra, str(error)) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in ``--help``, from the lines above: importing every command would take seconds."""
        lines = {name: line for name, (_, line) in (_OWN | _OTHERS).items()}
        with formatter.section("Commands"):
            formatter.write_dl([(name, lines.get(name, "")) for name in self.list_commands(ctx)])


def _missing(command: str, extra: str, reason: str) -> MissingExtraError:
    return MissingExtraError(
        f"the command {command!r} needs packages that are not installed",
        expected=f"the extra {extra!r}",
        got=reason,
        hint=f"pip install 'ptp-deploy[{extra}]'",
    )


@click.group(cls=PtpGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-v", "--verbose", is_flag=True, help="Say which backend was chosen, and why.")
@click.option("--debug", is_flag=True, help="Show tracebacks and everything that is logged.")
@click.version_option(package_name="ptp-deploy", prog_name="ptp")
def ptp(verbose: bool, debug: bool) -> None:
    """Code photos for machine vision: as few bytes as the task needs.

    A bundle holds a trained codec for one task. First make one, then use it:

    \b
      ptp export --task seg -o BUNDLE               # needs the extra "export"
      ptp infer BUNDLE photo.jpg -o OUT             # photo → bytes → mask, and a picture to look at

    \b
    Sender and receiver apart:
      ptp encode BUNDLE photo.jpg -o photo.ptp
      ptp decode BUNDLE photo.ptp -o mask.png

    \b
    Exit codes: 0 done, 1 something is broken (doctor), 2 wrong request, 3 image, 4 stream, 5 bundle,
    6 backend, 7 checkpoint, 8 export, 9 verification, 10 a package is missing,
    11 a service refused, 12 out of memory, 13 some photos of a collection failed, 70 a fault in ptp.
    """
    level = logging.DEBUG if debug else logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(message)s", stream=sys.stderr, force=True)
    # Other libraries' details are not ours to show.
    logging.getLogger("numba").setLevel(logging.WARNING)
    logging.getLogger("PIL").setLevel(logging.WARNING)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of ``ptp``; returns the exit code."""
    return run_command(ptp, arguments, "ptp")
