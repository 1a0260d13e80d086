"""Integer frequency tables from a model: made once, at export, and shipped as integers."""

from __future__ import annotations

from ptp_model.codec import FeatureCodec
from ptp_model.quantization import scale_table
from ptp_runtime.tables import Tables, gaussian_tables, table_from_pmf

#: How far from zero the prior of z is evaluated; the tables keep at most 255 integers of it and escape the rest.
Z_LIMIT = 512


def tables_from_model(codec: FeatureCodec) -> Tables:
    """64 Gaussian tables for y and one table for each channel of z.

    Args:
        codec: whose factorised prior shapes the tables of z; ``z`` is rounded to integers, without medians.
    """
    prior = codec.z_pmf(Z_LIMIT).cpu().numpy()
    return Tables.build(gaussian_tables(scale_table()), [table_from_pmf(row, -Z_LIMIT) for row in prior])
