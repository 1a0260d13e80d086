"""``docs/reliability.md`` from the JSON files in ``benchmarks/results``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Table = Callable[[list[str], list[list[str]]], str]

_FUZZED = {
    "coder": "streams, into the coder",
    "header": "streams, the header alone",
    "session": "streams, to the task's output",
    "bundle": "a bundle's files",
    "images": "photographs",
    "http": "bodies over HTTP, to the answer",
    "grpc": "messages over gRPC",
}
_BULK = [
    "operation",
    "photos a second, 1 worker",
    "2 workers",
    "2 over 1",
    "seconds of a whole run, 1 and 2",
    "results",
]
_KILLED = {
    "bundle": "a writer of new bundles",
    "replace": "a writer that replaces a bundle",
    "stream": "a writer of streams",
    "full": "no kill: a limit on file size, for a full disk",
    "export": "`ptp-export`",
    "bulk": "the driver of `ptp bulk`",
    "bulk-worker": "a worker of `ptp bulk`",
    "serve": "`ptp serve` under load",
}


def reliability_page(
    soak: dict[str, Any],
    bulk: dict[str, Any],
    faults: dict[str, Any],
    fuzz: dict[str, Any],
    table: Table,
    environment: Callable[[dict[str, Any]], str],
) -> str:
    """Markdown of the page.

    Args:
        soak, bulk, faults, fuzz: the documents of those names.
        table: makes a table of a head and rows.
        environment: the sentence about what a document was measured on.
    """
    kills = sum(row["rounds"] for kind, row in faults["kinds"].items() if kind != "full")
    streams = sum(row["inputs"] for name, row in fuzz["targets"].items() if name in ("coder", "header", "session"))
    memory = soak["memory_mb"]
    return f"""# Reliability

What was tried, how often, and what was found. The page is made from `benchmarks/results` by
`python benchmarks/report.py`; what each trial looks for is in the programs named below and in
[security.md](security.md).

## Load

```console
$ python benchmarks/soak.py bundle --seconds 600 --json soak.json
```

{soak["clients"]} clients on loopback, half over HTTP and half over gRPC, asked `ptp serve` with its default limits
to encode, to decode and to infer for {soak["seconds"]:.0f} seconds without a pause, and compared each stream and mask
with a session's. The clients ran on the same cores.

- {soak["requests"]:,} requests, {soak["failed"]} failed or were answered wrongly;
  {soak["requests_a_second"]:.2f} a second.
- The service's resident memory: median {memory["first_third"]:.0f} MB in the first third,
  {memory["last_third"]:.0f} MB in the last, {memory["most"]:.0f} MB at most.
- After SIGTERM it ended with {soak["exit_code"]}.

{table(["seconds to an answer", "p50", "p90", "p99", "p99.9", "max"], _latencies(soak))}

With {soak["clients"]} requests always waiting for {soak["environment"]["cores"]} cores, an answer takes as long as the
queue before it: the queue is served in turn, so that the slowest answer is not far from the median.

{environment(soak)}

## Whole collections

```console
$ python benchmarks/bulk.py bundle --json bulk.json
```

{bulk["photos"]} photographs in shards of {bulk["shard"]}, {bulk["rounds"]} runs each in turn, the median; the rate is
that after every worker has finished its first shard.

{table(_BULK, _bulk(bulk))}

{environment(bulk)}

On Ray Data the same shards gave the same bytes, also after a kill of an actor and of the driver (Ray 2.60, one machine,
`tests/integration/test_bulk_ray.py` where Ray is installed); no cluster was at hand.

## Kills and full disks

```console
$ python benchmarks/faults.py --count 200
$ python benchmarks/faults.py --kind bulk --kind bulk-worker --kind serve --count 90
$ python benchmarks/faults.py --kind export --count 24
```

{kills} kills (SIGKILL) at random moments. Nothing that opened was wrong, nothing was half-written, no result was lost:
{_faultless(faults)}.

{table(["killed", "rounds", "what was found"], _kills(faults))}

{environment(faults)}

## Damaged input

```console
$ python -m tests.fuzz --target coder --count 1000000
$ python -m tests.fuzz --target http --target grpc --count 100000
$ python -m tests.fuzz --count 10000
```

{streams:,} damaged streams, most with a CRC that was made to fit, and other damaged input. *Refused* is a typed error;
*read* is damage that means the same. Memory is the most that one input in fifty took of the bound that is computed from
it before it is decoded.

{table(["input", "how many", "refused", "read", "faults", "slowest, ms", "memory of its bound"], _fuzz(fuzz))}

{environment(fuzz)}

## Not shown

Nothing here was seen on a GPU: a device that is lost is a pretended one. Triton was loaded and asked
([serving.md](serving.md)), not soaked. Kills are of processes, not of machines: what a disk does with what was synced
is the file system's business.
"""


def _latencies(soak: dict[str, Any]) -> list[list[str]]:
    rows = {**soak["latency_s"], "all": soak["latency_all_s"]}
    keys = ("p50", "p90", "p99", "p99.9", "max")
    return [[name, *(f"{values[key]:.2f}" for key in keys)] for name, values in rows.items()]


def _bulk(bulk: dict[str, Any]) -> list[list[str]]:
    return [
        [
            operation,
            f"{row['photos_a_second']['1']:.2f}",
            f"{row['photos_a_second']['2']:.2f}",
            f"{row['two_over_one']:.2f}×",
            f"{row['seconds']['1']:.1f}, {row['seconds']['2']:.1f}",
            "identical" if row["identical"] else "differ",
        ]
        for operation, row in bulk["operations"].items()
    ]


def _kills(faults: dict[str, Any]) -> list[list[str]]:
    return [
        [_KILLED[kind], str(row["rounds"]), "; ".join(f"{what}: {count}" for what, count in row["found"].items())]
        for kind, row in faults["kinds"].items()
    ]


def _faultless(faults: dict[str, Any]) -> str:
    count = sum(len(row["faults"]) for row in faults["kinds"].values())
    return f"{count} faults" if count != 1 else "1 fault"


def _fuzz(fuzz: dict[str, Any]) -> list[list[str]]:
    rows = []
    for name, row in fuzz["targets"].items():
        read = row["outcomes"].get("read", 0)
        rows.append(
            [
                _FUZZED[name],
                f"{row['inputs']:,}",
                f"{row['inputs'] - read - len(row['faults']):,}",
                f"{read:,}",
                str(len(row["faults"])),
                f"{row['slowest_ms']:.0f}",
                f"{row['most_memory_of_bound']:.1%}",
            ]
        )
    return rows
