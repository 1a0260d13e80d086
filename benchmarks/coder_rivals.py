"""The coders that ours is compared with, each in its best case and, where it has one, in its usual flow.

*Best case*: all symbols in one call, everything that can be made before is made before (tables, models, lists, the
order by table), conversions on both sides are left out. *Flow*: step by step, from arrays to arrays, as a model drives
it. Every rival has the same Gaussians. Each is imported only where it is installed.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from coder_data import TABLES, Step, as_one_step, probability

from ptp_runtime.tables import SCALES

Arrays = list[Any]


@dataclass(frozen=True)
class Rival:
    """Attributes:
    name: of the coder and the way it is used.
    family: the coder alone.
    flow: step by step, instead of the best case.
    encode: codes the set and returns what ``decode`` wants.
    decode: gives the symbols back, as its ``check`` expects them.
    size: bytes of what ``encode`` returned.
    check: whether decoded symbols are right.
    """

    name: str
    family: str
    flow: bool
    encode: Callable[[], Any]
    decode: Callable[[Any], Any]
    size: Callable[[Any], int]
    check: Callable[[Any], bool]


def installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def rivals(steps: tuple[Step, ...]) -> tuple[list[Rival], list[str]]:
    """All that are installed, and the names of those that are not."""
    made: list[Rival] = []
    missing = []
    for module, makers in (
        ("torch_ans", (_torch_ans,)),
        ("constriction", (_constriction_best, _constriction_flow)),
        ("compressai", (_compressai_best, _compressai_flow)),
    ):
        if not installed(module):
            missing.append(module)
            continue
        for maker in makers:
            made.extend(maker(steps))
    return made, missing


# ---- torch-ans -----------------------------------------------------------------------------------------------------

TORCH_ANS = (("rans64", 4), ("rans32", 4), ("rans32_16", 8))
"""Its fastest variants on a CPU: state, lanes."""


def _torch_ans(steps: tuple[Step, ...]) -> Iterator[Rival]:
    torch = importlib.import_module("torch")
    native = importlib.import_module("torch_ans.utils")._native_module()
    width = max(len(table.frequencies) for table in TABLES.scale_tables) + 1
    rows = np.full((TABLES.scale_count, width), 4096, np.int32)
    for row, table in zip(rows, TABLES.scale_tables, strict=True):
        row[: len(table.frequencies) + 1] = np.concatenate([[0], np.cumsum(table.frequencies)])
    tables = (
        torch.from_numpy(rows),
        torch.tensor([len(table.frequencies) + 1 for table in TABLES.scale_tables], dtype=torch.int32),
        torch.tensor([table.offset for table in TABLES.scale_tables], dtype=torch.int32),
    )
    setting = {"freq_precision": 12, "bypass_coding": True, "bypass_precision": 4}
    one = as_one_step(steps)
    symbols = torch.from_numpy(one.symbols.reshape(1, -1).astype(np.int32))
    indexes = torch.from_numpy(one.indexes.reshape(1, -1).astype(np.int32))
    room = one.symbols.size

    for state, lanes in TORCH_ANS:
        start = getattr(native, f"{state}_init_stream")
        push, pop = (getattr(native, f"{state}_i{lanes}_{verb}") for verb in ("push", "pop"))

        def encode(start: Any = start, push: Any = push, lanes: int = lanes) -> Any:
            stream = start(1, lanes, room)
            push(stream, symbols, indexes, *tables, **setting)
            return stream

        def decode(stream: Any, pop: Any = pop) -> Any:
            return pop(stream.clone(), indexes, *tables, **setting)

        yield Rival(
            f"torch-ans {state} ×{lanes}",
            "torch-ans",
            False,
            encode,
            decode,
            lambda stream: int(stream[0, 0]),
            lambda got: bool((got == symbols).all()),
        )

    push, pop, start = native.rans64_i4_push, native.rans64_i4_pop, native.rans64_init_stream
    wheres = [torch.from_numpy(step.where()) for step in steps]

    def taken(array: Any, where: Any) -> Any:
        return torch.from_numpy(array.reshape(-1)).index_select(0, where).to(torch.int32)[None]

    def flow_encode() -> Any:
        stream = start(1, 4, room)
        for step, where in reversed(list(zip(steps, wheres, strict=True))):
            push(stream, taken(step.symbols, where), taken(step.indexes, where), *tables, **setting)
        return stream

    def flow_decode(stream: Any) -> Any:
        stream, out = stream.clone(), []
        for step, where in zip(steps, wheres, strict=True):
            plane = torch.zeros(step.indexes.size, dtype=torch.int32)
            plane[where] = pop(stream, taken(step.indexes, where), *tables, **setting)[0]
            out.append(plane.numpy().reshape(step.indexes.shape))
        return out

    yield Rival(
        "torch-ans flow",
        "torch-ans",
        True,
        flow_encode,
        flow_decode,
        lambda stream: int(stream[0, 0]),
        lambda got: planes_agree(steps, got),
    )


# ---- constriction --------------------------------------------------------------------------------------------------


def _constriction_models(steps: tuple[Step, ...]) -> tuple[Any, list[Any], list[int]]:
    stream = importlib.import_module("constriction").stream
    one = as_one_step(steps)
    models, reaches = [], []
    for index, scale in enumerate(SCALES):
        mine = np.abs(one.symbols[one.indexes == index].astype(np.int64))
        reach = max(1, int(4 * scale), int(mine.max(initial=0)))
        pmf = np.array([probability(value, scale) for value in range(-reach, reach + 1)])
        models.append(stream.model.Categorical(pmf, perfect=True))
        reaches.append(reach)
    return stream.stack.AnsCoder, models, reaches


def _grouped(indexes: Any) -> tuple[Any, list[tuple[int, int, int]]]:
    """The order by table, and for each table that occurs its number and where its symbols begin and end."""
    order = np.argsort(indexes, kind="stable")
    bounds = np.searchsorted(indexes[order], np.arange(len(SCALES) + 1))
    return order, [(k, int(bounds[k]), int(bounds[k + 1])) for k in range(len(SCALES)) if bounds[k] < bounds[k + 1]]


def _constriction_best(steps: tuple[Step, ...]) -> Iterator[Rival]:
    coder_type, models, reaches = _constriction_models(steps)
    one = as_one_step(steps)
    order, groups = _grouped(one.indexes.reshape(-1))
    values = one.symbols.reshape(-1)[order].astype(np.int32)
    parts = [(values[a:b] + reaches[k], models[k]) for k, a, b in groups]

    def encode() -> Any:
        coder = coder_type()
        for part, model in reversed(parts):
            coder.encode_reverse(part, model)
        return coder.get_compressed()

    def decode(words: Any) -> Any:
        coder = coder_type(words)
        return [coder.decode(model, part.size) for part, model in parts]

    def check(got: Any) -> bool:
        return all(np.array_equal(a, part) for a, (part, _) in zip(got, parts, strict=True))

    yield Rival("constriction", "constriction", False, encode, decode, lambda words: words.nbytes, check)


def _constriction_flow(steps: tuple[Step, ...]) -> Iterator[Rival]:
    coder_type, models, reaches = _constriction_models(steps)
    wheres = [step.where() for step in steps]

    def encode() -> Any:
        coder = coder_type()
        for step, where in reversed(list(zip(steps, wheres, strict=True))):
            order, groups = _grouped(step.indexes.reshape(-1)[where])
            values = step.symbols.reshape(-1)[where][order].astype(np.int32)
            for k, a, b in reversed(groups):
                coder.encode_reverse(values[a:b] + reaches[k], models[k])
        return coder.get_compressed()

    def decode(words: Any) -> Any:
        coder, out = coder_type(words), []
        for step, where in zip(steps, wheres, strict=True):
            order, groups = _grouped(step.indexes.reshape(-1)[where])
            values, plane = np.empty(order.size, np.int32), np.zeros(step.indexes.size, np.int32)
            for k, a, b in groups:
                values[order[a:b]] = coder.decode(models[k], b - a) - reaches[k]
            plane[where] = values
            out.append(plane.reshape(step.indexes.shape))
        return out

    yield Rival(
        "constriction flow",
        "constriction",
        True,
        encode,
        decode,
        lambda words: words.nbytes,
        lambda got: planes_agree(steps, got),
    )


# ---- compressai ----------------------------------------------------------------------------------------------------


def _compressai() -> Any:
    importlib.import_module(
        "ptp_model"
    )  # makes compressai importable where torchvision's compiled part cannot be loaded
    return importlib.import_module("compressai.ans")


def _compressai_best(steps: tuple[Step, ...]) -> Iterator[Rival]:
    ans = _compressai()
    one = as_one_step(steps)
    symbols, indexes = (array.reshape(-1).astype(int).tolist() for array in (one.symbols, one.indexes))
    tables = _trimmed_tables()

    def decode(data: bytes) -> Any:
        return ans.RansDecoder().decode_with_indexes(data, indexes, *tables)

    yield Rival(
        "compressai",
        "compressai",
        False,
        lambda: ans.RansEncoder().encode_with_indexes(symbols, indexes, *tables),
        decode,
        len,
        lambda got: got == symbols,
    )


def _trimmed_tables() -> tuple[Any, Any, Any]:
    """16-bit tables that end where the tails hold less than 2^-16: cumulative frequencies, lengths, offsets."""
    cumulative, lengths, offsets = [], [], []
    for scale in SCALES:
        reach = 1
        while math.erfc((reach + 0.5) / (scale * math.sqrt(2))) > 2.0**-16:
            reach += 1
        pmf = np.array([probability(value, scale) for value in range(-reach, reach + 1)])
        pmf = np.append(pmf, max(0.0, 1 - pmf.sum()))
        counts = np.maximum(1, np.floor(pmf * 65536)).astype(int)
        counts[np.argmax(counts)] += 65536 - counts.sum()
        cumulative.append([0, *np.cumsum(counts).tolist()])
        lengths.append(len(cumulative[-1]))
        offsets.append(-reach)
    return cumulative, lengths, offsets


def _compressai_flow(steps: tuple[Step, ...]) -> Iterator[Rival]:
    ans = _compressai()
    torch = importlib.import_module("torch")
    gaussian = importlib.import_module("compressai.entropy_models").GaussianConditional(None)
    gaussian.update_scale_table(list(SCALES))
    gaussian.update()
    tables = (gaussian.quantized_cdf.tolist(), gaussian.cdf_length.tolist(), gaussian.offset.tolist())
    wheres = [torch.from_numpy(step.where()) for step in steps]

    def listed(array: Any, where: Any) -> list[int]:
        values: list[int] = torch.from_numpy(array.reshape(-1)).index_select(0, where).to(torch.int32).tolist()
        return values

    def encode() -> bytes:
        coder = ans.BufferedRansEncoder()
        symbols: list[int] = []
        indexes: list[int] = []
        for step, where in zip(steps, wheres, strict=True):
            symbols += listed(step.symbols, where)
            indexes += listed(step.indexes, where)
        coder.encode_with_indexes(symbols, indexes, *tables)
        data: bytes = coder.flush()
        return data

    def decode(data: bytes) -> Any:
        coder, out = ans.RansDecoder(), []
        coder.set_stream(data)
        for step, where in zip(steps, wheres, strict=True):
            plane = torch.zeros(step.indexes.size, dtype=torch.int32)
            values = coder.decode_stream(listed(step.indexes, where), *tables)
            plane[where] = torch.tensor(values, dtype=torch.int32)
            out.append(plane.numpy().reshape(step.indexes.shape))
        return out

    yield Rival("compressai flow", "compressai", True, encode, decode, len, lambda got: planes_agree(steps, got))


def planes_agree(steps: tuple[Step, ...], got: Arrays) -> bool:
    """Whether each step's plane has its symbols where it has positions, and 0 elsewhere."""
    wanted = (np.where(step.covered(), step.symbols, 0) for step in steps)
    return all(np.array_equal(a, b) for a, b in zip(wanted, got, strict=True))
