"""A pocket model in numpy: a bundle and a backend that run the whole chain without any neural network.

``ptp doctor`` codes a picture with it to see whether the coder and the chain work on this machine, and the tests of
the runtime use it where neither torch nor onnx is installed.
"""

from ptp_runtime.selftest.pocket_bundle import write_pocket_bundle
from ptp_runtime.selftest.pocket_model import PocketBackend, PocketModel

__all__ = ["PocketBackend", "PocketModel", "write_pocket_bundle"]
