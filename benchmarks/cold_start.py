"""What a fresh process does before its first decoded stream: milliseconds by the wall's clock and of the processor."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

_CHILD = """
import json, time
clocks = [(time.perf_counter(), time.process_time())]
def lap():
    clocks.append((time.perf_counter(), time.process_time()))
import ptp_runtime
lap()
import numpy, numba
lap()
import ptp_runtime.coder
lap()
numba.njit([numba.types.int64(numba.types.int64)], cache=False)(lambda x: x + 1)
lap()
ptp_runtime.coder.warm_up()
lap()
names = "import ptp_runtime", "import numpy, numba", "import ptp_runtime.coder", "numba's first function", "all kernels"
print(json.dumps({name: [1e3 * (b[k] - a[k]) for k in (0, 1)] for name, a, b in zip(names, clocks, clocks[1:])}))
"""
_DECODE = """
import json, time
start = time.perf_counter(), time.process_time()
from ptp_runtime.coder import StreamDecoder
from ptp_runtime.tables import Table, Tables
table = Table(-1, (1024, 2048, 512, 512))
data = bytes.fromhex(
    "50 54 01 00 3c 02 00 00 00 00 00 00 01 00 01 00 16 1a 2d ca 85"
    "03 d0 79 0c ba ce 00 00 00 00 00 00 00 00 00 00 00 00 00 00 f8 04"
)
decoder = StreamDecoder(data, Tables.build([table], [table]))
decoder.z_step(1, 3)
decoder.finish()
print(json.dumps({"first decode": [1e3 * (time.perf_counter() - start[0]), 1e3 * (time.process_time() - start[1])]}))
"""


def cold_start(rounds: int = 5) -> dict[str, dict[str, float]]:
    """Medians over fresh processes, each with the cache of kernels filled: ``wall`` and ``cpu`` by what was done."""
    found: dict[str, list[list[float]]] = {}
    for number in range(rounds + 1):
        for child in (_CHILD, _DECODE):
            done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
            if number:  # the first one may fill the cache
                for name, pair in json.loads(done.stdout).items():
                    found.setdefault(name, []).append(pair)
    return {
        name: {
            "wall": statistics.median(pair[0] for pair in pairs),
            "cpu": statistics.median(pair[1] for pair in pairs),
        }
        for name, pairs in found.items()
    }
