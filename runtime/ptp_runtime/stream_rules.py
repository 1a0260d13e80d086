"""What a session writes into a stream's header, and what it demands of a stream's header before it decodes."""

from __future__ import annotations

from dataclasses import dataclass

from ptp_runtime.arithmetic import Arithmetic, difference, written_by
from ptp_runtime.bitstream import StreamHeader, identity_prefix
from ptp_runtime.errors import UsageError, WrongArithmeticError, WrongModelError
from ptp_runtime.manifest import Manifest
from ptp_runtime.rate import Rate

CODERS = ("cpu", "gpu")
"""What ``Session.open(coder=...)`` takes: where symbols are decoded."""

FLOAT_STREAMS = ("refuse", "any")
"""What ``Session.open(float_streams=...)`` and ``--float-streams`` take."""


@dataclass(frozen=True)
class StreamRules:
    """The header of the streams of one session.

    Attributes:
        manifest: of its bundle.
        arithmetic: of the backend that runs the entropy path.
        step_checks: write one byte a step that names the first step at which a decoder differs.
        float_streams: ``refuse`` float streams that another arithmetic wrote, or try ``any``.

    Raises:
        UsageError: no such choice for float streams.
    """

    manifest: Manifest
    arithmetic: Arithmetic
    step_checks: bool = True
    float_streams: str = "refuse"

    def __post_init__(self) -> None:
        if self.float_streams not in FLOAT_STREAMS:
            raise UsageError(
                "there is no such way to treat float streams",
                expected=", ".join(FLOAT_STREAMS),
                got=repr(self.float_streams),
            )

    @property
    def rates(self) -> int:
        """How many rates the bundle serves."""
        return 1 if self.manifest.entropy.rates is None else self.manifest.entropy.rates.count

    def header(self, size: Rate, rate: int) -> StreamHeader:
        """The header of a stream to write, for a photo of this size at this rate."""
        entropy = self.manifest.entropy
        is_float = entropy.mode == "float"
        return StreamHeader(
            identity=identity_prefix(entropy.identity),
            task=self.manifest.task.id,
            width=size.width,
            height=size.height,
            steps=len(entropy.schedule),
            skip_index=entropy.skip_index,
            original_width=size.original_width if size.resized else 0,
            original_height=size.original_height if size.resized else 0,
            rate=rate,
            float_entropy=is_float,
            step_checks=self.step_checks,
            arithmetic=self.arithmetic.fingerprint if is_float else b"",
            # A float mean that differs by 1/16 is borne with; an integer one proves that a machine is not exact.
            seals_means=not is_float,
            probability_bits=entropy.probability_bits,
        )

    def check(self, header: StreamHeader) -> None:
        """Refuse a stream that this session would not decode to what was encoded.

        Raises:
            WrongModelError: coded another way, or at a rate that the bundle does not have.
            WrongArithmeticError: a float stream of another arithmetic.
        """
        entropy = self.manifest.entropy
        expected = (len(entropy.schedule), entropy.skip_index, entropy.probability_bits, entropy.mode == "float")
        got = (header.steps, header.skip_index, header.probability_bits, header.float_entropy)
        if got != expected:
            raise WrongModelError(
                "the stream was coded another way than this bundle codes",
                expected="{} steps, skip index {}, {} probability bits, float entropy {}".format(*expected),
                got="{} steps, skip index {}, {} probability bits, float entropy {}".format(*got),
                hint="decode it with the bundle that encoded it",
            )
        if header.rate >= self.rates:
            raise WrongModelError(
                f"the stream was coded at rate {header.rate}, which this bundle does not have",
                expected=f"a rate below {self.rates}",
                got=str(header.rate),
                hint="decode it with the bundle that encoded it",
            )
        # Streams from before there were fingerprints do not say what wrote them.
        ours = self.arithmetic.fingerprint
        if header.arithmetic not in (b"", ours) and self.float_streams == "refuse":
            written = written_by(header.arithmetic, self.arithmetic)
            found = "of none of the usual kinds" if written is None else difference(written, self.arithmetic)
            raise WrongArithmeticError(
                "the stream was written by a float entropy path with another arithmetic",
                expected=f"{ours.hex()}: {self.arithmetic.sentence()}",
                got=f"{header.arithmetic.hex()}: {found}",
                hint="decode with the library, kind of CPU and --threads that encoded, or export with"
                " --entropy-path integer, or try it all the same with --float-streams any",
            )

    def out_of_step(self, header: StreamHeader, provider: str, golden: str) -> str:
        """What to tell somebody whose decoder fell out of step with a stream.

        Args:
            header: of the stream.
            provider: what ran the entropy path here, for people.
            golden: what it made of the golden test, for people.
        """
        path = f"entropy path {header.identity.hex()}"
        altered = "a stream that was altered together with its CRC looks the same"
        if not header.float_entropy:
            return (
                f"the stream was written for the integer {path} and decoded on {provider} ({golden}): one of the two"
                f" machines does not compute exactly, so run `ptp doctor BUNDLE` on both; {altered}"
            )
        if not header.arithmetic:
            writer = "the stream does not say what wrote it"
        elif header.arithmetic == self.arithmetic.fingerprint:
            writer = "the stream names the same arithmetic"
        else:
            written = written_by(header.arithmetic, self.arithmetic)
            writer = f"the stream names the arithmetic {header.arithmetic.hex()}"
            writer += "" if written is None else f" ({written.sentence()})"
        return (
            f"the stream was written for the float {path} and decoded on {self.arithmetic.sentence()}; {writer}; decode"
            f" with what encoded, or export with --entropy-path integer; {altered}"
        )
