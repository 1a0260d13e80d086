"""Several opened bundles of one task that work as one session.

Encoding uses the variant that the policy names. Which variant wrote a stream stands in the stream: its header carries
the first four bytes of the entropy path's identity, so a receiver that holds the same variants picks by it, and the
format is the same as ever. Variants that share an entropy path (FP32 and FP16 of one codec) have one identity, and
either of them decodes the other's streams: there the policy chooses for the receiver, too.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ptp_runtime.bitstream import StreamHeader, identity_prefix
from ptp_runtime.bitstream.header import read_header
from ptp_runtime.coding_results import Decoded, Encoded
from ptp_runtime.errors import PtpError, UsageError, WrongModelError
from ptp_runtime.session import Image, Session
from ptp_runtime.tasks import TaskOutput
from ptp_runtime.variants.costs import CostBook
from ptp_runtime.variants.policy import ShiftingPolicy, Situation
from ptp_runtime.variants.situation import MachineSituation

SEEN = 9
"""How many latencies the median is taken over."""


@dataclass
class Variant:
    """One opened bundle.

    Attributes:
        name: for people.
        session: the bundle.
        milliseconds: the newest times of the side that is watched, since the last move to this variant.
    """

    name: str
    session: Session
    milliseconds: deque[float] = field(default_factory=lambda: deque(maxlen=SEEN))

    @property
    def identity(self) -> bytes:
        """What its streams carry."""
        return identity_prefix(self.session.manifest.entropy.identity)

    @property
    def usual(self) -> float | None:
        """Median of the newest times; None before the first."""
        return median(self.milliseconds) if self.milliseconds else None


@dataclass(frozen=True)
class Shift:
    """A move from one variant to another.

    Attributes:
        seconds: of the policy's clock.
        source, target: names.
        reason: a clause.
    """

    seconds: float
    source: str
    target: str
    reason: str


class VariantSession:
    """Use :meth:`open`. May be used from several threads.

    Args:
        variants: the wanted one first, the lightest last; at least two, of one task and one set of classes.
        policy: when to move.
        situation: what the policy is told, given a latency; None: this machine's sensors.
        side: ``encode`` or ``decode``: whose calls the policy watches. The other side uses what it says.
        clock: seconds, for the latencies.

    Attributes:
        shifts: every move so far.

    Raises:
        UsageError: fewer than two variants, two of one name, or of different tasks, classes or resizes.
    """

    def __init__(
        self,
        variants: Sequence[Variant],
        policy: ShiftingPolicy,
        situation: Callable[[float | None], Situation] | None = None,
        side: str = "encode",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        _check(variants)
        if side not in ("encode", "decode"):
            raise UsageError("there is no such side", expected="encode or decode", got=repr(side))
        self._side = side
        self._costs = CostBook(len(variants))
        self._variants = tuple(variants)
        self._policy = policy
        self._situation = MachineSituation() if situation is None else situation
        self._clock = clock
        self._lock = threading.Lock()
        self.shifts: list[Shift] = []

    @classmethod
    def open(
        cls,
        bundles: Mapping[str, str | os.PathLike[str]],
        policy: ShiftingPolicy,
        *,
        situation: Callable[[float | None], Situation] | None = None,
        side: str = "encode",
        **options: Any,
    ) -> VariantSession:
        """Open every bundle; all are kept in memory, so that a move costs nothing.

        Args:
            bundles: directories by name, the wanted one first, the lightest last.
            policy, situation, side: see the class.
            options: as for ``Session.open``.

        Raises:
            PtpError: what ``Session.open`` raises.
            UsageError: see the class.
        """
        opened: list[Variant] = []
        try:
            for name, path in bundles.items():
                opened.append(Variant(name, Session.open(path, **options)))
            return cls(opened, policy, situation, side)
        except PtpError:
            for variant in opened:
                variant.session.close()
            raise

    @property
    def variants(self) -> tuple[Variant, ...]:
        """In their order."""
        return self._variants

    @property
    def present(self) -> Variant:
        """The one that encodes now."""
        return self._variants[self._policy.present]

    def encode(self, image: Image, *, rate: int | None = None) -> bytes:
        """As ``Session.encode``, with the present variant."""
        return self.encode_detailed(image, rate=rate).data

    def encode_detailed(self, image: Image, *, rate: int | None = None) -> Encoded:
        """As ``Session.encode_detailed``, without the steps."""
        variant = self._chosen(range(len(self._variants)), "encode")
        start = self._clock()
        result = variant.session.encode_detailed(image, rate=rate, keep_steps=False)
        self._took(variant, "encode", start)
        return result

    def decode(self, data: bytes) -> TaskOutput:
        """As ``Session.decode``, with a variant that knows the stream.

        Raises:
            WrongModelError: none of the variants wrote it.
            StreamError, EngineError: as ``Session.decode``.
        """
        return self.decode_detailed(data).output

    def decode_detailed(self, data: bytes) -> Decoded:
        """As ``Session.decode_detailed``, without the steps."""
        header = read_header(data)
        variant = self._chosen(self._writers(header), "decode")
        start = self._clock()
        result = variant.session.decode_detailed(data, keep_steps=False)
        self._took(variant, "decode", start)
        return result

    def variant_of(self, data: bytes) -> tuple[str, ...]:
        """The names of the variants that decode a stream, by its header.

        Raises:
            StreamError: no stream, or of none of them.
        """
        return tuple(self._variants[number].name for number in self._writers(read_header(data)))

    def close(self) -> None:
        """Close every session."""
        for variant in self._variants:
            variant.session.close()

    def __enter__(self) -> VariantSession:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _writers(self, header: StreamHeader) -> list[int]:
        found = [number for number, variant in enumerate(self._variants) if variant.identity == header.identity]
        if not found:
            raise WrongModelError(
                "the stream was written by a variant that is not held here",
                expected=", ".join(f"{variant.name} ({variant.identity.hex()})" for variant in self._variants),
                got=header.identity.hex(),
                hint="open the sender's bundles here, too",
            )
        return found

    def _chosen(self, allowed: Sequence[int], side: str) -> Variant:
        """The present variant; where it is not allowed the next lighter one that is, or else the lightest."""
        with self._lock:
            if side == self._side:
                self._observe()
            present = self._policy.present
        return self._variants[min((n for n in allowed if n >= present), default=allowed[-1])]

    def _observe(self) -> None:
        before = self._policy.present
        situation = self._situation(self._variants[before].usual)
        present = self._policy.observe(situation, self._costs.costs())
        if present != before:
            source, target = self._variants[before], self._variants[present]
            self._costs.moved(before, present, source.usual)
            # What it took when it was last used says nothing about now.
            target.milliseconds.clear()
            self.shifts.append(Shift(situation.seconds, source.name, target.name, self._policy.reason))

    def _took(self, variant: Variant, side: str, start: float) -> None:
        if side != self._side:
            return
        milliseconds = (self._clock() - start) * 1e3
        with self._lock:
            variant.milliseconds.append(milliseconds)
            self._costs.took(self._variants.index(variant), milliseconds)


def _check(variants: Sequence[Variant]) -> None:
    if len(variants) < 2:
        raise UsageError("there is nothing to move between", expected="at least two variants", got=str(len(variants)))
    names = [variant.name for variant in variants]
    if len(set(names)) != len(names):
        raise UsageError("two variants have one name", expected="a name each", got=", ".join(names))
    first = variants[0].session.manifest
    for variant in variants[1:]:
        other = variant.session.manifest
        if other.task != first.task:
            raise UsageError(
                f"the variant {variant.name!r} gives other results than {names[0]!r}",
                expected=f"task {first.task.name} with the same {len(first.task.classes)} classes and parameters",
                got=f"task {other.task.name}, {len(other.task.classes)} classes",
            )
        if other.preprocessing.resize != first.preprocessing.resize:
            raise UsageError(
                f"the variant {variant.name!r} resizes photos in another way than {names[0]!r}",
                expected=str(first.preprocessing.resize),
                got=str(other.preprocessing.resize),
            )
