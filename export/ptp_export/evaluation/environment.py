"""What a figure was measured on; stored beside it."""

from __future__ import annotations

import importlib.metadata
import os
import platform

from PIL import features

PACKAGES = ("ptp-deploy", "numpy", "onnxruntime", "torch", "torchvision", "compressai", "pillow", "av", "pycocotools")
#: Libraries inside Pillow that code the rivals.
INSIDE_PILLOW = ("libjpeg_turbo", "webp", "avif")


def environment(threads: int) -> dict[str, object]:
    """System, Python and the versions of what does the work.

    Args:
        threads: that were asked for; 0: the libraries' choice.
    """
    versions: dict[str, str | None] = {}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    versions |= {name: features.version(name) for name in INSIDE_PILLOW}
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "threads": threads,
        "python": platform.python_version(),
        "packages": versions,
    }
