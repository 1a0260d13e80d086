"""Making the first image as fast as the second."""

from __future__ import annotations

import numpy as np

from ptp_runtime.bitstream.header import StreamHeader
from ptp_runtime.coder.decoder import StreamDecoder
from ptp_runtime.coder.encoder import StreamEncoder
from ptp_runtime.tables import Table, Tables


def warm_up() -> None:
    """Loads (the first time on a machine: compiles) every kernel and codes a symbol of each dtype through them.

    After it no call of the coder compiles or reads a cache any more.
    """
    table = Table(-1, (1024, 1024, 1024, 1024))
    tables = Tables.build([table], [table])
    indexes = np.zeros((1, 1, 1), np.uint8)
    header = StreamHeader(identity=bytes(4), task=0, width=1, height=1, steps=2, skip_index=0)
    encoder = StreamEncoder(tables, header)
    encoder.z_step(np.zeros((1, 1, 1), np.int32))
    encoder.step(np.ones((1, 1, 1), np.int16), indexes, 0)
    encoder.step(np.full((1, 1, 1), 5, np.int32), indexes, 0)
    decoder = StreamDecoder(encoder.finish(), tables)
    decoder.z_step(1, 1)
    decoder.step(indexes, 0, out=np.empty((1, 1, 1), np.int16))
    decoder.step(indexes, 0)
    decoder.finish()
