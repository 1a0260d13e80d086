"""What the results of floating-point graphs depend on, and its fingerprint in streams of a float entropy path.

The order in which products are added decides the last bits of a sum, and whoever runs a convolution decides the order:
the library and its version, the instruction set its kernels are chosen by, and the number of threads (with ONNX Runtime
1.31 on the CPU, a 3 × 3 convolution of 33 to 47 channels gives other bits on two threads than on one). A float stream
therefore says which arithmetic wrote it, and another one refuses it instead of trying.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path

from ptp_runtime.bitstream.header import ARITHMETIC_BYTES

_INSTRUCTIONS = ("avx", "fma", "avx2", "avx512f", "asimd", "sve", "sme", "sme2")
"""Features of a CPU by which FP32 kernels are chosen, as Linux names them."""


@dataclass(frozen=True)
class Arithmetic:
    """What floating-point results depend on.

    Attributes:
        provider: what executes the graphs, such as ``CPUExecutionProvider``.
        library: with its version.
        machine: operating system and architecture, or the device.
        instructions: the sets that kernels are chosen by; empty where they are not known or do not matter.
        threads: 0 where they do not matter.
    """

    provider: str
    library: str
    machine: str
    instructions: str = ""
    threads: int = 0

    @property
    def fingerprint(self) -> bytes:
        """The first 4 bytes of the SHA-256 over the lines that ``docs/bitstream-format.md`` gives."""
        lines = (
            "ptp arithmetic 1",
            f"provider {self.provider}",
            f"library {self.library}",
            f"machine {self.machine}",
            f"instructions {self.instructions}",
            f"threads {self.threads}",
        )
        text = "".join(line + "\n" for line in lines)
        return hashlib.sha256(text.encode("ascii", "replace")).digest()[:ARITHMETIC_BYTES]

    def sentence(self) -> str:
        """For people."""
        with_set = f" with {self.instructions}" if self.instructions else ""
        threads = f", {self.threads} thread{'s' if self.threads > 1 else ''}" if self.threads else ""
        return f"{self.library} ({self.provider}) on {self.machine}{with_set}{threads}"


@cache
def cpu_flags() -> frozenset[str]:
    """The CPU's features as Linux names them; empty elsewhere."""
    info = Path("/proc/cpuinfo")
    if not info.is_file():
        return frozenset()
    for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def cpu_arithmetic(provider: str, library: str, threads: int) -> Arithmetic:
    """The arithmetic of a library that runs on this machine's CPU.

    Args:
        provider, library: see :class:`Arithmetic`.
        threads: that it uses inside one operator.
    """
    flags = cpu_flags()
    # Where the features cannot be read, the processor's own name stands for them: a finer distinction than needed.
    known = " ".join(name for name in _INSTRUCTIONS if name in flags) if flags else platform.processor()
    return Arithmetic(provider, library, f"{platform.system()} {platform.machine()}", known, threads)


def written_by(fingerprint: bytes, here: Arithmetic) -> Arithmetic | None:
    """The arithmetic behind a fingerprint, if it is one of those that can be guessed; else None.

    A fingerprint says only whether two are equal. Among some ten thousand usual ones a chance hit is one in 10^5.
    """
    for guess in _usual(here):
        if guess.fingerprint == fingerprint:
            return guess
    return None


def _usual(here: Arithmetic) -> Iterator[Arithmetic]:
    """This arithmetic, then those of the same provider on other machines, versions and numbers of threads."""
    threads = (*range(1, 33), 48, 64, 96, 128)
    yield here
    yield from (replace(here, threads=n) for n in threads)
    name, _, version = here.library.rpartition(" ")
    major, _, _ = version.partition(".")
    versions = [here.library, *(f"{name} {major}.{minor}.{patch}" for minor in range(20, 36) for patch in range(3))]
    kinds = [
        (here.machine, here.instructions),
        *product(("Linux x86_64",), ("", "avx", "avx fma avx2", "avx fma avx2 avx512f")),
        *product(("Linux aarch64",), ("asimd", "asimd sve")),
    ]
    for library, (machine, instructions), n in product(versions, kinds, threads):
        yield Arithmetic(here.provider, library, machine, instructions, n)


def difference(written: Arithmetic, here: Arithmetic) -> str:
    """For people: what differs, as ``threads 8 instead of 2``."""
    names = ("provider", "library", "machine", "instructions", "threads")
    pairs = [(name, getattr(written, name), getattr(here, name)) for name in names]
    return ", ".join(
        f"{name} {theirs or 'none'} instead of {ours or 'none'}" for name, theirs, ours in pairs if theirs != ours
    )
