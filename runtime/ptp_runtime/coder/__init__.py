"""The entropy coder: symbols and scale indices to the bytes of a stream and back.

``StreamEncoder`` and ``StreamDecoder`` walk the steps of a bundle's schedule; both are for one image and one thread.
The compiled loops release the GIL, so images can be coded side by side in threads. The first encoder and the first
decoder of a process load the loops that they call (the first time on a machine they compile them, which takes many
seconds); ``warm_up`` does it beforehand. ``ptp_runtime.bitstream`` alone reads headers without.
"""

from ptp_runtime.coder.decoder import StreamDecoder
from ptp_runtime.coder.encoder import StreamEncoder
from ptp_runtime.coder.kernel_choice import Kernels
from ptp_runtime.coder.steps import Parity
from ptp_runtime.coder.warm import warm_up

__all__ = ["Kernels", "Parity", "StreamDecoder", "StreamEncoder", "warm_up"]
