"""Integer tables from a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ptp_export.bundle.tables_from_model import tables_from_model
from ptp_model.codec import FeatureCodec
from ptp_model.quantization import scale_table
from ptp_model.spec import preset
from ptp_runtime.tables import SCALES, Tables


@pytest.fixture(scope="module")
def codec() -> FeatureCodec:
    torch.manual_seed(3)
    return FeatureCodec(preset("tiny")).eval()


def test_the_model_and_the_coder_mean_the_same_scales() -> None:
    assert scale_table() == pytest.approx(list(SCALES), rel=1e-12)


def test_each_channel_of_z_has_the_prior_it_was_trained_with(codec: FeatureCodec) -> None:
    tables = tables_from_model(codec)
    assert (tables.scale_count, tables.hyper_count) == (64, codec.spec.Z)
    reach = 400
    pmf = codec.z_pmf(reach).numpy()
    for table, row in zip(tables.hyper_tables, pmf, strict=True):
        values = np.arange(table.offset, table.offset + table.size)
        exact = row[values + reach]
        coded = np.array(table.frequencies[:-1]) / 4096
        ideal = -(exact * np.log2(exact)).sum()
        assert -(exact * np.log2(coded)).sum() < ideal + 0.02, "bits a symbol"


def test_tables_are_the_same_every_time_and_survive_the_file(codec: FeatureCodec) -> None:
    first, second = tables_from_model(codec), tables_from_model(codec)
    assert first.to_bytes() == second.to_bytes()
    assert Tables.from_bytes(first.to_bytes()) == first
