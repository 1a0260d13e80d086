"""Kills of whole programs: an export, a run over a collection, a service; each round looks at what is left.

``export``: ``ptp-export`` of a codec of the smallest size, killed somewhere between its start and its end; what lies
under the output's name must open and be whole, or not be there. ``bulk``: the driver of a run, and ``bulk-worker``: one
of its workers, killed at a random moment; after the same command again, results must be those of an undisturbed run,
byte by byte. ``serve``: a service, killed while clients ask it; each answer that came must be whole and right.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path

import numpy as np
from PIL import Image

from ptp_runtime import Session
from ptp_runtime.bundle import Bundle
from ptp_runtime.errors import PtpError
from ptp_runtime.selftest import PocketBackend, write_pocket_bundle

_BULK = Path(__file__).with_name("slow_bulk.py")
_SERVE = """
import asyncio, sys
from ptp_runtime import SharedSession
from ptp_runtime.selftest import PocketBackend
from ptp_runtime.service.serve.catalogue import Catalogue
from ptp_runtime.service.serve.server import Addresses, serve
from ptp_runtime.service.serve.service import Service

service = Service(Catalogue({"": [SharedSession.open(sys.argv[1], PocketBackend())]}))
began = lambda port, grpc: print(port, flush=True)
asyncio.run(serve(service, Addresses("127.0.0.1", 0, None), name="t", version="0", grace=1, began=began))
"""
_EXPORT = "from ptp_export.cli import main; raise SystemExit(main())"
_PHOTOS = 16


def export_round(chance: random.Random) -> tuple[str, str]:
    """One kill of an export; see :func:`benchmarks.faults.one`."""
    checkpoint, took = _tiny_checkpoint()
    with tempfile.TemporaryDirectory(prefix="ptp-faults-") as name:
        output = Path(name) / "bundle"
        child = subprocess.Popen(
            _export_command(checkpoint, output), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        # A tenth more than it takes, so that some rounds meet the writing at the end, and some the end itself.
        try:
            child.wait(chance.uniform(0, 1.1 * took))
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
        if not output.exists():
            return "nothing", ""
        try:
            bundle = Bundle.open(output)
            for entry in bundle.manifest.files():
                bundle.verify(entry)
        except PtpError as error:
            return "half", str(error)
        return "whole", ""


def _export_command(checkpoint: Path, output: Path) -> list[str]:
    options = ["--task", "cls", "--checkpoint", str(checkpoint), "-o", str(output), "--size", "64x64"]
    return [sys.executable, "-c", _EXPORT, *options]


@functools.cache
def _tiny_checkpoint() -> tuple[Path, float]:
    """A checkpoint that lives as long as this process, and how long its export takes."""
    import torch

    from ptp_model import checkpoint
    from ptp_model.codec import FeatureCodec
    from ptp_model.prompts import TaskPrompts
    from ptp_model.spec import preset
    from ptp_model.teachers import build

    torch.manual_seed(21)
    codec, teacher = FeatureCodec(preset("tiny", transform="stem", rates=2)).eval(), build("efficientnet-lite0", "cls")
    codec.stem.adopt(teacher.stem_layers())
    codec.feature_std.fill_(10.0)
    folder = Path(tempfile.mkdtemp(prefix="ptp-faults-"))
    checkpoint.save(folder, codec, {"cls": checkpoint.TaskModel(TaskPrompts(codec.spec).eval(), teacher)}, {})
    begin = time.monotonic()
    subprocess.run(_export_command(folder, folder / "bundle"), check=True, stdout=subprocess.DEVNULL)
    return folder, time.monotonic() - begin


def bulk_round(chance: random.Random, *, worker: bool) -> tuple[str, str]:
    """One kill of a run's driver, or of one of its workers."""
    wanted = _undisturbed()
    with tempfile.TemporaryDirectory(prefix="ptp-faults-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _bulk_files(folder)
        child = _bulk(folder)
        assert child.stdout is not None
        # Half of the rounds wait until there is something to lose; the others may meet the very beginning.
        if chance.randrange(2):
            child.stdout.readline()
            time.sleep(chance.uniform(0, 0.25))
        else:
            time.sleep(chance.uniform(0.2, 1.6))
        if worker:
            _kill_a_worker(child.pid, chance)
            child.communicate(timeout=120)
            if child.returncode:
                return "ended", f"exit code {child.returncode} after a worker was killed"
        else:
            child.kill()
            child.communicate()
        shards = len(list((folder / "out").glob("shard-*")))
        again = _bulk(folder)
        again.communicate(timeout=120)
        found = _digests(folder / "out")
        if again.returncode or found != wanted:
            return "wrong", f"exit code {again.returncode}, {len(found)} files of {len(wanted)}"
        return f"identical ({'killed before the first shard' if not shards else 'killed in the middle'})", ""


def _bulk_files(folder: Path) -> None:
    write_pocket_bundle(folder / "bundle")
    (folder / "in").mkdir()
    for number in range(_PHOTOS):
        (folder / "in" / f"{number:02d}.png").write_bytes(_png(number))


def _bulk(folder: Path) -> subprocess.Popen[str]:
    parts = [str(folder / part) for part in ("bundle", "in", "out")]
    command = [sys.executable, str(_BULK), *parts, "webdataset"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


@functools.cache
def _undisturbed() -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="ptp-faults-") as name:
        _bulk_files(Path(name))
        if _bulk(Path(name)).communicate(timeout=120)[0].count("shard") != _PHOTOS // 2:
            raise SystemExit("a run that nobody disturbed did not finish")
        return _digests(Path(name) / "out")


def _digests(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith(".partial"))
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _kill_a_worker(parent: int, chance: random.Random) -> None:
    workers = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            ours = int((path / "stat").read_text().rsplit(")", 1)[1].split()[1]) == parent
            if ours and b"spawn_main" in (path / "cmdline").read_bytes():
                workers.append(int(path.name))
        except (OSError, IndexError):
            continue
    if workers:
        os.kill(chance.choice(workers), signal.SIGKILL)


def serve_round(chance: random.Random) -> tuple[str, str]:
    """One kill of a service under load."""
    photo, wanted = _photo_and_stream()
    with tempfile.TemporaryDirectory(prefix="ptp-faults-") as name:
        write_pocket_bundle(Path(name) / "bundle")
        service = subprocess.Popen(
            [sys.executable, "-c", _SERVE, str(Path(name) / "bundle")], stdout=subprocess.PIPE, text=True
        )
        assert service.stdout is not None
        port = service.stdout.readline().strip()
        url = f"http://127.0.0.1:{port}/v2/models/seg_infer/infer?outputs=STREAM"
        request = urllib.request.Request(url, photo, {"Inference-Header-Content-Length": "0"})
        answers: list[bytes] = []

        def ask() -> None:
            while True:
                try:
                    with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - our own service
                        answers.append(answer.read())
                except (urllib.error.URLError, HTTPException, ConnectionError):
                    return

        clients = [threading.Thread(target=ask) for _ in range(4)]
        for client in clients:
            client.start()
        time.sleep(chance.uniform(0.05, 0.6))
        service.kill()
        service.communicate()
        for client in clients:
            client.join()
    wrong = sum(answer != wanted for answer in answers)
    if wrong:
        return "wrong", f"{wrong} of {len(answers)} answers"
    return ("answers right, then none" if answers else "no answer"), ""


@functools.cache
def _photo_and_stream() -> tuple[bytes, bytes]:
    with tempfile.TemporaryDirectory(prefix="ptp-faults-") as name:
        bundle, photo = write_pocket_bundle(Path(name) / "bundle"), _png(0)
        session = Session.open(bundle, PocketBackend())
        return photo, session.encode(np.asarray(Image.open(io.BytesIO(photo))))


def _png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()
