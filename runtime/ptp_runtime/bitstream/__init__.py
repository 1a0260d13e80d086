"""The bytes of a stream apart from the coded symbols: header, checks, and what stands in front of the words.

The contract is ``docs/bitstream-format.md``. Nothing here imports numba or needs the probability tables.
"""

from ptp_runtime.bitstream.header import StreamHeader, identity_prefix, read_header

__all__ = ["StreamHeader", "identity_prefix", "read_header"]
