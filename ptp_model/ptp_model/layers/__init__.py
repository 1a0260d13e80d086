"""Building blocks shared by the transforms: convolutions, residual units, window attention, Swin blocks."""
