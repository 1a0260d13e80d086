"""``ptp-export prompt``: one more task for a shared bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from ptp_export.command import PtpCommand
from ptp_export.options import TASKS

_EPILOG = """\b
Examples:
  ptp-export prompt --task cls --bundle bundle
  ptp-export prompt --task det --checkpoint my-checkpoint --bundle bundle --replace

\b
Exit codes: 0 done, 2 a request that makes no sense, 5 an unusable bundle, 7 an unusable checkpoint or one of another
codec, 8 the prompts do not fit the bundle's entropy path.
"""


@click.command(cls=PtpCommand, name="prompt", epilog=_EPILOG)
@click.option("--task", type=click.Choice(TASKS), required=True, help="The task to add.")
@click.option("--bundle", type=click.Path(path_type=Path), required=True, help="A bundle of ptp-export --shared.")
@click.option(
    "--checkpoint", default="demo", show_default=True, help="Checkpoint folder, or 'demo' for the shipped one."
)
@click.option("--replace", "replace_task", is_flag=True, help="Take the place of the same task in the bundle.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def prompt_command(task: str, bundle: Path, checkpoint: str, replace_task: bool, as_json: bool) -> None:
    """Add a task's prompt, head and golden test to a shared bundle. Its codec is neither exported nor built again.

    Streams of the tasks that the bundle has stay readable: nothing that they use is touched. The checkpoint's codec
    must be the bundle's, weight for weight.
    """
    from ptp_export.progress import ProgressBar
    from ptp_export.shared.add_prompt import add_prompt

    with ProgressBar(sys.stderr) as bar:
        added = add_prompt(bundle, checkpoint, task, bar, replace_task=replace_task)
    if as_json:
        seconds = {name: round(value, 3) for name, value in added.seconds.items()}
        click.echo(json.dumps({"task": added.task, "files": dict(added.files), "cost": added.cost, "seconds": seconds}))
        return
    prompts = sum(size for name, size in added.files.items() if name.startswith("prompts/"))
    click.echo(
        f"Added {task} to {bundle}: a prompt of {prompts / 1000:.1f} kB, {sum(added.files.values()) / 1e6:.2f} MB with"
        f" its head; its integers cost {added.cost:+.2%} bits of y. Check it with: ptp verify {bundle} --task {task}"
    )
