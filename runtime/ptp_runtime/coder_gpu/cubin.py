"""CUDA C++ to machine code; needs neither driver nor GPU. The only file that imports NVIDIA's ``cuda`` package."""

from __future__ import annotations

from functools import cache

from ptp_runtime.coder_gpu.device import SOURCES
from ptp_runtime.errors import BackendNotAvailableError


@cache
def cubin_for(architecture: str) -> bytes:
    """The kernels for one architecture, compiled once a process.

    Args:
        architecture: as NVIDIA writes it, for example ``sm_90``.

    Raises:
        BackendNotAvailableError: cuda-core or NVRTC is not installed, or the compiler refuses the architecture.
    """
    try:
        from cuda.core import Program, ProgramOptions
    except ImportError as error:
        raise BackendNotAvailableError(
            "the GPU coder's compiler is missing",
            expected="cuda-core and NVRTC",
            got=str(error),
            hint="pip install 'ptp-deploy[coder-gpu]'",
        ) from error
    text = "\n".join(source.read_text(encoding="utf-8") for source in SOURCES)
    try:
        program = Program(text, code_type="c++", options=ProgramOptions(arch=architecture))
        return bytes(program.compile("cubin").code)
    except Exception as error:  # the compiler's own errors have no public class
        raise BackendNotAvailableError(
            f"the GPU coder cannot be compiled for {architecture}",
            expected="an architecture that NVRTC knows",
            got=str(error).strip().partition("\n")[0],
            hint="install a version of nvidia-cuda-nvrtc that knows the GPU",
        ) from error
