"""The model cut into the graphs of a bundle: thin torch modules that call the model and own no arithmetic.

One file a role; ``graphs_from_model`` lists them in the order of the chain. The entropy path (``hyper`` and the steps)
is always cut off from analysis and synthesis: it must give the same integers in the encoder and in the decoder.
"""

import ptp_model as ptp_model  # first: makes torchvision and compressai importable beside any torch
