"""The Parallel Task-Prompts codec in PyTorch (Shen & Liu), its teachers, checkpoints and training."""

from ptp_model import torchvision_ops  # first: makes torchvision and compressai importable

__all__ = ["torchvision_ops"]
