"""The one tree of errors a user of ptp-deploy can meet.

    PtpError                        exit code
    ├── UsageError                      2   a request that makes no sense (unknown task, size out of range)
    ├── ImageError                      3
    │   ├── BrokenImageError                not decodable, truncated
    │   └── UnsupportedImageError           CMYK, 16-bit, animated, alpha, too large, wrong array
    ├── StreamError                     4
    │   ├── NotAStreamError                 empty, or another magic number
    │   ├── StreamVersionError              a version this reader does not know
    │   ├── TruncatedStreamError            fewer bytes than the header promises
    │   ├── CorruptStreamError              CRC, superfluous bytes, impossible field
    │   ├── WrongModelError                 written by another codec, entropy path or task
    │   ├── WrongArithmeticError            written by a float entropy path on another kind of machine or build
    │   └── DesynchronisedError             the decoder saw other symbols or scale indices than the encoder
    ├── BundleError                     5
    │   ├── ManifestError                   unreadable manifest, another schema, a missing field
    │   ├── MissingFileError                the manifest names a file that is not there
    │   ├── AlteredFileError                a file's digest differs from the manifest's
    │   ├── TaskNotAvailableError           the bundle or checkpoint lacks the task
    │   └── UntrustedBundleError            nobody vouches for its engines, or it is another than the one vouched for
    ├── BackendError                    6
    │   ├── BackendNotAvailableError        library or device missing
    │   ├── EngineError                     an engine that will not load or run here
    │   │   ├── DamagedEngineError              its bytes are no whole plan
    │   │   ├── EngineVersionError              built with another version of the library
    │   │   ├── EngineDeviceError               built for another GPU
    │   │   └── EnginePrecisionError            computes in something else than was asked
    │   └── InexactBackendError             an integer entropy path that gives other integers here
    ├── CheckpointError                 7   wrong spec, missing weights, digest mismatch
    ├── ExportError                     8
    │   ├── StageFailedError                a stage of the export; carries the reproducing command
    │   └── PrecisionNotMetError            FP16 was asked for and not reached
    ├── VerificationError               9   a limit was passed, or nothing was compared
    ├── MissingExtraError              10   an optional dependency is not installed
    ├── ServiceError                   11   a service could not take or finish a request
    │   ├── RequestError                    it breaks the protocol
    │   ├── UnknownModelError               it names a model that is not served
    │   ├── TooLargeError                   its body, its photos or its streams are beyond a limit
    │   ├── OverloadedError                 too much is waiting already, or the service is about to stop
    │   └── DeadlineError                   it took longer than it may
    └── OutOfMemoryError               12   a photo or stream needs more memory than there is

Every error is built from three sentences: what was expected, what came, what to do.
"""

from __future__ import annotations


class PtpError(Exception):
    """Root of the tree.

    Args:
        message: one line that names the thing that is wrong.
        expected: what would have been right.
        got: what came instead.
        hint: what the reader of the message should do.
    """

    exit_code = 1

    def __init__(self, message: str, *, expected: str = "", got: str = "", hint: str = "") -> None:
        self.message = message
        self.expected = expected
        self.got = got
        self.hint = hint
        super().__init__(message)

    def __str__(self) -> str:
        parts = [self.message.rstrip(".")]
        if self.expected:
            parts.append(f"expected {self.expected.rstrip('.')}")
        if self.got:
            parts.append(f"got {self.got.rstrip('.')}")
        if self.hint:
            parts.append(self.hint.rstrip("."))
        return parts[0] + "".join(f"; {part}" for part in parts[1:]) + "."


class UsageError(PtpError):
    """A request that no input could satisfy (unknown task, size out of range)."""

    exit_code = 2


class ImageError(PtpError):
    """The image given to the encoder cannot be used."""

    exit_code = 3


class BrokenImageError(ImageError):
    """The file is not an image, or ends too early."""


class UnsupportedImageError(ImageError):
    """A real image of a kind the codec does not take (CMYK, 16-bit, alpha, animated, too large)."""


class StreamError(PtpError):
    """The bytes given to the decoder cannot be decoded."""

    exit_code = 4


class NotAStreamError(StreamError):
    """Empty input, or bytes that do not start with the magic number."""


class StreamVersionError(StreamError):
    """A stream of a version that this reader does not know."""


class TruncatedStreamError(StreamError):
    """Fewer bytes than the header promises."""


class CorruptStreamError(StreamError):
    """The checksum, a field or the end of the payload is impossible."""


class WrongModelError(StreamError):
    """The stream was written by another codec, entropy path or task."""


class WrongArithmeticError(StreamError):
    """A float entropy path wrote the stream with another arithmetic than the one that would decode it."""


class DesynchronisedError(StreamError):
    """The decoder saw other symbols or scale indices than the encoder wrote.

    Args:
        message, expected, got, hint: see :class:`PtpError`.
        step: number of the first step that is known to differ; 0 is the hyper-latent, step k of the schedule k + 1.
            None: only the end tells.
        graph: which graph gave that step's probabilities; empty where it is not known or none did.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: str = "",
        got: str = "",
        hint: str = "",
        step: int | None = None,
        graph: str = "",
    ) -> None:
        super().__init__(message, expected=expected, got=got, hint=hint)
        self.step = step
        self.graph = graph


class BundleError(PtpError):
    """The bundle directory cannot be used."""

    exit_code = 5


class ManifestError(BundleError):
    """``manifest.json`` is unreadable, of another schema, or lacks a field."""


class MissingFileError(BundleError):
    """The manifest names a file that is not there."""


class AlteredFileError(BundleError):
    """A file's SHA-256 differs from the manifest's."""


class TaskNotAvailableError(BundleError):
    """The bundle or the checkpoint lacks the task that was asked for."""


class UntrustedBundleError(BundleError):
    """Nobody vouches for the bundle's engines, or it is not the one that somebody vouched for."""


class BackendError(PtpError):
    """A backend cannot run the bundle."""

    exit_code = 6


class BackendNotAvailableError(BackendError):
    """The backend's library or device is missing on this machine."""


class EngineError(BackendError):
    """An engine or graph failed to load or to run."""


class DamagedEngineError(EngineError):
    """The bytes of an engine are no plan of its library, or not all of one."""


class EngineVersionError(EngineError):
    """An engine was built with another version of the library than the one installed."""


class EngineDeviceError(EngineError):
    """An engine was built for another GPU, or its library does not take this one."""


class EnginePrecisionError(EngineError):
    """An engine, inspected on its device, computes in something else than was asked of it."""


class InexactBackendError(BackendError):
    """A backend gives other integers for the golden test than every exact machine.

    Args:
        message, expected, got, hint: see :class:`PtpError`.
        backend: its name.
        graph: the first graph that differs.
        layer: the first layer of it that differs; empty where the backend cannot show its layers.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: str = "",
        got: str = "",
        hint: str = "",
        backend: str = "",
        graph: str = "",
        layer: str = "",
    ) -> None:
        super().__init__(message, expected=expected, got=got, hint=hint)
        self.backend = backend
        self.graph = graph
        self.layer = layer


class CheckpointError(PtpError):
    """A checkpoint of another spec, with missing or altered weights."""

    exit_code = 7


class ExportError(PtpError):
    """The export could not produce a bundle."""

    exit_code = 8


class StageFailedError(ExportError):
    """One stage of the export failed; the hint carries the command that reproduces it."""


class PrecisionNotMetError(ExportError):
    """A precision was asked for and not reached."""


class VerificationError(PtpError):
    """A parity limit was passed, or nothing was compared."""

    exit_code = 9


class MissingExtraError(PtpError):
    """An optional dependency is not installed; the hint names the extra."""

    exit_code = 10


class OutOfMemoryError(PtpError, MemoryError):
    """A photo or stream needs more memory than there is, or than this process may take."""

    exit_code = 12


class ServiceError(PtpError):
    """A service could not take or finish a request."""

    exit_code = 11


class RequestError(ServiceError):
    """The request breaks the protocol, or asks for what the model does not have."""


class UnknownModelError(ServiceError):
    """The request names a model, or a version of one, that is not served."""


class TooLargeError(ServiceError):
    """The body of the request, one of its photos or one of its streams is beyond a limit of the service."""


class OverloadedError(ServiceError):
    """More is waiting than the service lets wait, or it is about to stop; the same request may pass later."""


class DeadlineError(ServiceError):
    """The request took longer than the service lets one take."""
