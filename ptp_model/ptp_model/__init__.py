"""The Parallel Task-Prompts codec in PyTorch (Shen & Liu), its teachers, checkpoints and training."""

from ptp_model import torchvision_ops as torchvision_ops  # first: makes torchvision and compressai importable
