"""The process that runs a configuration under settings that a library reads once, when it is loaded.

Started as ``python -m ptp_export.interop.configurations.worker`` with the environment already set. Frames
(:mod:`~ptp_export.interop.configurations.frames`) come on standard input and go to standard output; whatever a library
prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, BinaryIO

import onnx
from numpy.typing import NDArray

from ptp_export.interop.configurations.configuration import EntropyFiles, OpenedGraphs
from ptp_export.interop.configurations.frames import receive, send
from ptp_runtime.errors import PtpError


def opened(message: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> OpenedGraphs:
    """Load the graphs that came as bytes with the library and settings that the message names."""
    files = EntropyFiles({name: onnx.load_from_string(data.tobytes()) for name, data in arrays.items()})
    if message["library"] == "torch":
        from ptp_export.interop.configurations.torch_paths import TorchSettings, open_torch

        found = open_torch(files, TorchSettings(**message["settings"]))
        kernel = onednn_kernel()
        return OpenedGraphs(f"{found.provider}, oneDNN {kernel}", (*found.identity, kernel), found.graphs)
    from ptp_export.interop.configurations.openvino_paths import OpenVinoSettings, open_openvino

    return open_openvino(files, OpenVinoSettings(**message["settings"]))


def onednn_kernel() -> str:
    """The kernel that oneDNN takes for a convolution of torch here, such as ``jit:avx2``; it tells only by printing."""
    import torch
    from torch.nn import functional

    with tempfile.TemporaryFile() as printed:
        before = os.dup(1)
        os.dup2(printed.fileno(), 1)
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):  # type: ignore[no-untyped-call]
                functional.conv2d(torch.ones(1, 32, 40, 40), torch.ones(32, 32, 3, 3), padding=1)
        finally:
            # oneDNN prints with C's stdio, which keeps what it has in memory while this is a file.
            ctypes.CDLL(None).fflush(None)
            os.dup2(before, 1)
            os.close(before)
        printed.seek(0)
        text = printed.read().decode(errors="replace")
    found = re.search(r",convolution,([^,]+),", text)
    return found.group(1) if found else "not used"


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer until the pipe is closed."""
    message, arrays = receive(requests)
    try:
        path = opened(message, arrays)
    except PtpError as error:
        send(replies, {"error": error.message, "got": error.got}, {})
        return
    send(replies, {"provider": path.provider, "identity": [str(part) for part in path.identity]}, {})
    while True:
        try:
            message, arrays = receive(requests)
        except EOFError:
            return
        try:
            outputs = path.graphs[message["run"]].run(arrays)
        except PtpError as error:
            send(replies, {"error": error.message, "got": error.got}, {})
        else:
            send(replies, {}, outputs)


def main() -> int:
    """Keep standard output for frames alone, and serve."""
    with os.fdopen(os.dup(1), "wb") as replies, Path(os.devnull).open("rb") as nothing:
        os.dup2(2, 1)
        requests = os.fdopen(os.dup(0), "rb")
        os.dup2(nothing.fileno(), 0)
        with requests:
            serve(requests, replies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
