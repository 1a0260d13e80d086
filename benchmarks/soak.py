"""Saturation: 64 clients on loopback ask ``ptp serve`` for ten minutes without a pause.

    python benchmarks/soak.py BUNDLE --json benchmarks/results/soak.json

Half of the clients speak HTTP, half gRPC; each asks in turn to encode, to decode and to infer, and compares every
stream and every mask with a session's. Counted: requests, failures, wrong answers, latencies, the service's memory
every few seconds. The clients run in processes of their own; they share the cores with the service.
"""

from __future__ import annotations

import json
import multiprocessing
import queue
import re
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from environment import environment

from ptp_export.photos import photos
from ptp_runtime import Session

OPERATIONS = ("encode", "decode", "infer")
PROCESSES = 2
WARM_UP = 20.0
"""Seconds before memory counts: sessions and allocators reach their size in them."""


def _client(protocol: str, address: str, work: list[Any], number: int, until: float, found: Any) -> None:
    """One client: ask until the time is over."""
    if protocol == "http":
        import tritonclient.http as library

        server = library.InferenceServerClient(address, network_timeout=120, connection_timeout=120)
    else:
        import tritonclient.grpc as library

        server = library.InferenceServerClient(address)
    turn = number
    while time.time() < until:
        operation = OPERATIONS[turn % len(OPERATIONS)]
        photo, stream, mask = work[turn % len(work)]
        turn += 1
        name, element, wanted = ("STREAM", stream, "MASK") if operation == "decode" else ("PHOTO", photo, "STREAM")
        given = library.InferInput(name, [1], "BYTES")
        given.set_data_from_numpy(np.array([element], object))
        outputs = [library.InferRequestedOutput(wanted)]
        begin = time.perf_counter()
        try:
            answer = server.infer(f"seg_{operation}", [given], outputs=outputs).as_numpy(wanted)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a failure, and is counted
            found.put((operation, protocol, time.perf_counter() - begin, f"{type(error).__name__}: {error}"[:300]))
            continue
        right = np.array_equal(answer[0], mask) if wanted == "MASK" else bytes(answer[0]) == stream
        found.put((operation, protocol, time.perf_counter() - begin, "" if right else "another answer"))
    server.close()


def _clients(http: str, grpc: str, work: list[Any], numbers: list[int], until: float, found: Any) -> None:
    """The clients of one process."""
    # The HTTP client is made for greenlets: each gets a thread, and with it a hub, of its own.
    threads = [
        threading.Thread(
            target=_client, args=("grpc" if n % 2 else "http", grpc if n % 2 else http, work, n, until, found)
        )
        for n in numbers
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _start(bundle: Path) -> tuple[subprocess.Popen[str], str, str]:
    command = [sys.executable, "-m", "ptp_runtime", "serve", str(bundle), "--port", "0", "--grpc-port", "0"]
    service = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    text = ""
    while "grpc://" not in text:
        line = service.stdout.readline() if service.stdout else ""
        if not line:
            raise SystemExit("the service did not start")
        text += line
    http, grpc = (re.search(rf"{name}://([\d.:]+)", text) for name in ("http", "grpc"))
    if http is None or grpc is None:
        raise SystemExit(text)
    return service, http[1], grpc[1]


def _memory(pid: int) -> float:
    """Resident memory, MB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _work(bundle: Path) -> list[Any]:
    """Photos, their streams and masks."""
    with Session.open(bundle, profile="throughput") as session:
        found = []
        for photo in photos("parity"):
            data = session.encode(photo.path)
            found.append((photo.path.read_bytes(), data, session.decode(data).mask))
    return found


def _percentiles(values: list[float]) -> dict[str, float]:
    array = np.array(values)
    return {name: round(float(np.percentile(array, share)), 3) for name, share in _SHARES.items()} | {
        "max": round(float(array.max()), 3)
    }


_SHARES = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9}


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--seconds", default=600, show_default=True)
@click.option("--clients", default=64, show_default=True)
@click.option("--json", "output", type=click.Path(dir_okay=False, path_type=Path))
def main(bundle: Path, seconds: int, clients: int, output: Path | None) -> None:
    """Saturate a service; exit code 1 where a request failed or was answered wrongly."""
    work = _work(bundle)
    service, http, grpc = _start(bundle)
    context = multiprocessing.get_context("spawn")
    found = context.Queue()
    begin = time.time()
    until = begin + seconds
    processes = [
        context.Process(target=_clients, args=(http, grpc, work, list(range(n, clients, PROCESSES)), until, found))
        for n in range(PROCESSES)
    ]
    for process in processes:
        process.start()
    answers, memory = [], []
    sampled = 0.0
    while any(process.is_alive() for process in processes) or not found.empty():
        if time.time() - sampled >= 2:
            sampled = time.time()
            memory.append((round(sampled - begin, 1), round(_memory(service.pid), 1)))
        try:
            answers.append(found.get(timeout=0.5))
        except queue.Empty:
            continue
    took = time.time() - begin
    service.send_signal(signal.SIGTERM)
    code = service.wait(60)
    failures = [answer for answer in answers if answer[3]]
    settled = [value for when, value in memory if WARM_UP <= when <= seconds]
    third = max(1, len(settled) // 3)
    document = {
        "environment": environment("tritonclient", "uvicorn", "grpcio"),
        "seconds": round(took, 1),
        "clients": clients,
        "photos": len(work),
        "requests": len(answers),
        "failed": len(failures),
        "failures": sorted({failure[3] for failure in failures})[:10],
        "exit_code": code,
        "requests_a_second": round(len(answers) / took, 2),
        "latency_s": {
            f"{operation} over {protocol}": _percentiles(times)
            for operation in OPERATIONS
            for protocol in ("http", "grpc")
            if (times := [answer[2] for answer in answers if answer[:2] == (operation, protocol)])
        },
        "latency_all_s": _percentiles([answer[2] for answer in answers]),
        "memory_mb": {
            "first_third": round(statistics.median(settled[:third]), 1),
            "last_third": round(statistics.median(settled[-third:]), 1),
            "most": max(value for _, value in memory),
            "samples": memory[:: max(1, len(memory) // 60)],
        },
    }
    print(json.dumps(document, indent=1))
    if output:
        output.write_text(json.dumps(document, indent=1) + "\n")
    if failures or code:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
