"""The entropy coder on an NVIDIA GPU: the CPU's streams, bit for bit, one warp a stream.

``BatchDecoder`` decodes the streams of a batch step by step; between steps everything stays in device memory.
``encode_lanes`` codes what an encoder has collected. ``rans.cu`` and ``latents.cu`` hold the kernels; they are compiled
when a ``CudaDevice`` is made, with NVRTC (``pip install 'ptp-deploy[coder-gpu]'``). Only
:mod:`ptp_runtime.device_decoder` uses this package.

Unseen on a GPU so far: the kernels' source is compiled for sm_80 … sm_100, and run on the CPU with a warp of 32 fibres.
"""

from ptp_runtime.coder_gpu.batch_decoder import BatchDecoder, DeviceTables
from ptp_runtime.coder_gpu.cuda_device import CudaDevice
from ptp_runtime.coder_gpu.device import WARP, GpuDevice, Handle, blocks_for
from ptp_runtime.coder_gpu.lane_encoder import encode_lanes

__all__ = [
    "WARP",
    "BatchDecoder",
    "CudaDevice",
    "DeviceTables",
    "GpuDevice",
    "Handle",
    "blocks_for",
    "encode_lanes",
]
