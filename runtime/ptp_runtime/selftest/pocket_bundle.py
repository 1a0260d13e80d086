"""Writing a bundle of the pocket model."""

from __future__ import annotations

import hashlib
import math
import os
from functools import cache
from pathlib import Path

import numpy as np

from ptp_runtime.atomic import new_directory
from ptp_runtime.manifest import (
    MANIFEST_NAME,
    ClassificationParameters,
    DeclaredResize,
    DetectionParameters,
    EntropyInfo,
    FeatureInfo,
    FileEntry,
    GraphEntry,
    Manifest,
    ModelInfo,
    Preprocessing,
    RatesInfo,
    ScheduleEntry,
    SegmentationParameters,
    TaskInfo,
    TensorInfo,
    ViewParameters,
    entropy_identity,
    json_from_manifest,
)
from ptp_runtime.rate_gains import RateGains
from ptp_runtime.selftest.pocket_golden import pocket_golden
from ptp_runtime.selftest.pocket_integer import HYPER_CHANNELS, LATENT_CHANNELS, WIDTH, context_name
from ptp_runtime.selftest.pocket_model import (
    CLASSES,
    FEATURE_CHANNELS,
    SCHEDULES,
    PocketModel,
)
from ptp_runtime.tables import Tables, gaussian_tables, table_from_pmf

TABLES_FILE = "tables.bin"
RATES_FILE = "rates.bin"
GOLDEN_FILE = "golden.bin"
SKIP_INDEX = 2
PROBABILITY_BITS = 12

_TASKS = {
    "view": TaskInfo("view", 0, (), ViewParameters()),
    "seg": TaskInfo("seg", 1, CLASSES, SegmentationParameters()),
    "det": TaskInfo("det", 2, CLASSES, DetectionParameters()),
    "cls": TaskInfo("cls", 3, CLASSES, ClassificationParameters(top=3)),
}


def write_pocket_bundle(
    folder: str | os.PathLike[str],
    *,
    task: str = "seg",
    context: str = "checkerboard",
    height: tuple[int, int] = (64, 4096),
    width: tuple[int, int] = (64, 4096),
    resize: DeclaredResize | None = None,
    rates: int = 1,
    mode: str = "float",
) -> Path:
    """Write a bundle that :class:`~ptp_runtime.selftest.PocketBackend` runs; returns its path.

    Args:
        folder: to create.
        task: ``seg``, ``det``, ``cls`` or ``view``.
        context: ``checkerboard``, ``zigzag`` or ``whole``.
        height: smallest and largest padded height.
        width: likewise.
        resize: the resize to declare.
        rates: how many rates it serves.
        mode: of the entropy path, ``float`` or ``integer``; the latter has a golden test.
    """
    model = PocketModel(task, context, mode)
    steps = tuple(
        ScheduleEntry(f"step_{number:02d}", (start, stop), region)
        for number, (start, stop, region) in enumerate(SCHEDULES[context])
    )
    with new_directory(folder) as temporary:
        (temporary / "graphs").mkdir()
        tables = _tables()
        (temporary / TABLES_FILE).write_bytes(tables)
        graphs = _graphs(model, steps, rates)
        gains = pocket_gains(rates).to_bytes() if rates > 1 else b""
        rates_info = None
        if gains:
            (temporary / RATES_FILE).write_bytes(gains)
            rates_info = RatesInfo(RATES_FILE, hashlib.sha256(gains).hexdigest(), rates, rates // 2)
        for graph in graphs:
            (temporary / graph.file).write_bytes(model.file(graph.name))
        golden = None
        if mode == "integer":
            test = pocket_golden(model).to_bytes()
            (temporary / GOLDEN_FILE).write_bytes(test)
            golden = FileEntry(GOLDEN_FILE, hashlib.sha256(test).hexdigest())
        digests = {graph.name: graph.sha256 for graph in graphs}
        tables_file = FileEntry(TABLES_FILE, hashlib.sha256(tables).hexdigest())
        identity = entropy_identity(
            mode=mode,
            tables_sha256=tables_file.sha256,
            probability_bits=PROBABILITY_BITS,
            skip_index=SKIP_INDEX,
            hyper_sha256=digests["hyper"],
            schedule=steps,
            step_sha256=[digests[step.graph] for step in steps],
            rates_sha256=None if rates_info is None else rates_info.sha256,
        )
        manifest = Manifest(
            task=_TASKS[task],
            model=ModelInfo({"name": "pocket", "context": context}, hashlib.sha256(b"pocket").hexdigest()),
            feature=FeatureInfo(FEATURE_CHANNELS, 4),
            preprocessing=Preprocessing(
                multiple=64,
                lead_multiple=4,
                pad="edge",
                channels="RGB",
                value_range=(0.0, 1.0),
                height=height,
                width=width,
                resize=resize,
                teacher_mean=(0.0, 0.0, 0.0),
                teacher_std=(1.0, 1.0, 1.0),
            ),
            entropy=EntropyInfo(
                mode=mode,
                identity=identity,
                tables=tables_file,
                probability_bits=PROBABILITY_BITS,
                skip_index=SKIP_INDEX,
                latent_channels=LATENT_CHANNELS,
                hyper_channels=HYPER_CHANNELS,
                schedule=steps,
                rates=rates_info,
                golden=golden,
            ),
            graphs=graphs,
            tools={"numpy": np.__version__},
        )
        (temporary / MANIFEST_NAME).write_bytes(json_from_manifest(manifest))
    return Path(folder)


def pocket_gains(rates: int) -> RateGains:
    """Gains 1, 2, 4 … of all channels: powers of two keep the model's arithmetic exact."""
    return RateGains(np.exp2(np.arange(rates, dtype=np.float32))[:, None].repeat(LATENT_CHANNELS, 1))


@cache
def _tables() -> bytes:
    """The Gaussian tables, and a two-sided geometric one for each hyper channel."""
    pmf = np.array([math.exp(-abs(k) / 6) for k in range(-40, 41)])
    hyper = table_from_pmf(pmf / pmf.sum() * 0.999, -40)
    return Tables.build(gaussian_tables(), [hyper] * HYPER_CHANNELS).to_bytes()


def _graphs(model: PocketModel, steps: tuple[ScheduleEntry, ...], rates: int) -> tuple[GraphEntry, ...]:
    gain = (_tensor("gain", (1, LATENT_CHANNELS, 1, 1)),) if rates > 1 else ()
    latent = (1, LATENT_CHANNELS, "4*h", "4*w")
    is_integer = model.mode == "integer"
    mu_hyper = _tensor("mu_hyper", latent)
    carried = (1, WIDTH, "4*h", "4*w")
    parts = [_tensor(f"part_{number:02d}", carried) for number in range(len(steps))]
    hyper = (mu_hyper, *parts) if is_integer else (mu_hyper, _tensor("scale_hyper", latent))
    y_int = _tensor("y_int", latent)
    feature = _tensor("h", (1, FEATURE_CHANNELS, "hf", "wf"))
    heads = {
        "seg": (_tensor("logits", (1, len(CLASSES), "oh", "ow")),),
        "det": (_tensor("cls_logits", (1, "a", len(CLASSES))), _tensor("box_deltas", (1, "a", 4))),
        "cls": (_tensor("logits", (1, len(CLASSES))),),
        "view": (_tensor("image", (1, 3, "4*hf", "4*wf")),),
    }
    z = (1, HYPER_CHANNELS, "h", "w")
    parameters = (_tensor("index", (1, "g", "rh", "rw"), "uint8"), _tensor("mean", (1, "g", "rh", "rw"), "int16"))
    return (
        _graph(
            model,
            "analysis",
            "analysis",
            (_tensor("image", (1, 3, "64*h", "64*w")), *gain),
            (
                _tensor("y", latent),
                _tensor("z", z),
            ),
        ),
        _graph(model, "hyper", "entropy", (_tensor("z_hat", z),), hyper),
        *(
            _graph(
                model,
                step.graph,
                "entropy",
                (parts[k], y_int, *([_tensor(context_name(k - 1), carried)] if step.region == "nonanchor" else []))
                if is_integer
                else (*hyper, y_int),
                (*parameters, *([_tensor(context_name(k), carried)] if is_integer and step.region == "anchor" else [])),
            )
            for k, step in enumerate(steps)
        ),
        _graph(model, "synthesis", "synthesis", (y_int, mu_hyper, *gain), (feature,)),
        _graph(model, "head", "head", (feature,), heads[model.task]),
    )


def _tensor(name: str, shape: tuple[int | str, ...], dtype: str = "float32") -> TensorInfo:
    return TensorInfo(name, dtype, shape)


def _graph(
    model: PocketModel, name: str, role: str, inputs: tuple[TensorInfo, ...], outputs: tuple[TensorInfo, ...]
) -> GraphEntry:
    digest = hashlib.sha256(model.file(name)).hexdigest()
    return GraphEntry(name, role, f"graphs/{name}.json", digest, "fp32", inputs, outputs)
