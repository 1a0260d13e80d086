"""What is left when writing is killed or the disk is full: nothing, or the whole thing.

    python benchmarks/faults.py --count 200 --json benchmarks/results/faults.json

Each round starts a child that writes over and over, kills it (SIGKILL) after a random time, and looks at what lies.
``bundle``: a bundle under a new name, again and again; ``replace``: one bundle replaced by another of another task;
``stream``: a stream file replaced by another; ``full``: a limit on the size of files stands for a full disk, and the
writer must say so with a typed error. A bundle that opens must be whole and give the right stream; a stream must be one
of the two. ``export``, ``bulk``, ``bulk-worker`` and ``serve`` kill whole programs; see ``faults_service.py``. Folders
that end in ``.partial`` are what a killed writer leaves; nothing reads them.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import click
import numpy as np
from environment import environment

from ptp_runtime import Session
from ptp_runtime.errors import MissingFileError, PtpError
from ptp_runtime.selftest import PocketBackend

WRITERS = ("bundle", "replace", "stream", "full")
KINDS = (*WRITERS, "bulk", "bulk-worker", "serve", "export")
_PHOTO = np.random.default_rng(3).integers(0, 256, (64, 64, 3), dtype=np.uint8)
_CHILD = """
import itertools, resource, shutil, signal, sys
from pathlib import Path
from ptp_runtime.atomic import new_directory, write_bytes
from ptp_runtime.errors import PtpError
from ptp_runtime.selftest import write_pocket_bundle

kind, folder, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
made = {task: write_pocket_bundle(folder / f"made-{task}", task=task) for task in ("seg", "view")}
streams = [bytes([65 + n]) * 300_000 for n in range(2)]
if limit:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
print("ready", flush=True)
try:
    for number in itertools.count():
        if kind in ("bundle", "full"):
            write_pocket_bundle(folder / f"bundle-{number}")
        elif kind == "replace":
            with new_directory(folder / "bundle", replace=True) as new:
                shutil.copytree(made[("seg", "view")[number % 2]], new, dirs_exist_ok=True)
        else:
            write_bytes(folder / "stream", streams[number % 2])
except PtpError as error:
    print("typed", type(error).__name__, error, flush=True)
except OSError as error:
    print("untyped", type(error).__name__, error, flush=True)
"""


def one(kind: str, chance: random.Random) -> tuple[str, str]:
    """One round: how it ended, and the fault; empty where there is none."""
    if kind not in WRITERS:
        import faults_service

        if kind.startswith("bulk"):
            return faults_service.bulk_round(chance, worker=kind == "bulk-worker")
        return faults_service.serve_round(chance) if kind == "serve" else faults_service.export_round(chance)
    with tempfile.TemporaryDirectory(prefix="ptp-faults-") as name:
        folder = Path(name)
        # Below the size of a bundle's manifest, so that every round meets it.
        limit = chance.randrange(1, 8_000) if kind == "full" else 0
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, kind, name, str(limit)], stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            raise SystemExit(f"the child of {kind} did not start")
        if kind == "full":
            said = child.stdout.readline() if _readable_within(child, 20) else ""
        else:
            time.sleep(chance.uniform(0, 0.12))
            said = ""
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        if said.startswith("untyped"):
            return "untyped error", said
        outcome, fault = _look(kind, folder)
        return ("refused with a typed error" if said.startswith("typed") else outcome), fault


def _readable_within(child: subprocess.Popen[str], seconds: float) -> bool:
    import select

    return bool(select.select([child.stdout], [], [], seconds)[0])


def _look(kind: str, folder: Path) -> tuple[str, str]:
    if kind == "stream":
        file = folder / "stream"
        if not file.exists():
            return "nothing", ""
        data = file.read_bytes()
        whole = len(data) == 300_000 and len(set(data)) == 1
        return ("whole", "") if whole else ("half", f"{len(data)} bytes of {sorted(set(data))}")
    found = sorted(path for path in folder.iterdir() if path.name.startswith("bundle"))
    for path in found:
        try:
            with Session.open(path, PocketBackend()) as session:
                wanted = _wanted(session.manifest.task.name)
                if session.encode(_PHOTO) != wanted:
                    return "wrong", f"{path.name} gives another stream"
        except MissingFileError as error:
            if kind == "replace" and not path.exists():
                continue
            return "half", f"{path.name}: {error}"
        except PtpError as error:
            return "half", f"{path.name}: {error}"
    return ("whole" if found else "nothing"), ""


_streams: dict[str, bytes] = {}


def _wanted(task: str) -> bytes:
    from ptp_runtime.selftest import write_pocket_bundle

    if task not in _streams:
        with tempfile.TemporaryDirectory() as name:
            bundle = write_pocket_bundle(Path(name) / "bundle", task=task)
            with Session.open(bundle, PocketBackend()) as session:
                _streams[task] = session.encode(_PHOTO)
    return _streams[task]


@click.command()
@click.option("--count", default=200, show_default=True, help="Rounds in all, shared out evenly.")
@click.option("--kind", "kinds", multiple=True, type=click.Choice(KINDS), help="Default: those that kill writers.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(count: int, kinds: tuple[str, ...], seed: int, output: Path | None) -> None:
    """Kill writers and fill disks; exit code 1 where anything but nothing or the whole was found."""
    results: dict[str, Any] = {}
    chosen = kinds or WRITERS
    for kind in chosen:
        chance = random.Random(f"{seed}/{kind}")
        rounds = [one(kind, chance) for _ in range(-(-count // len(chosen)))]
        results[kind] = {
            "rounds": len(rounds),
            "found": dict(Counter(outcome for outcome, _ in rounds)),
            "faults": [fault for _, fault in rounds if fault][:10],
        }
    print(json.dumps(results, indent=1))
    if output:
        document = {"environment": environment(), "seed": seed, "kinds": results}
        output.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.exit(any(result["faults"] for result in results.values()))


if __name__ == "__main__":
    main()
