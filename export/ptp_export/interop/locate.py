"""Which layer two configurations compute differently: the integer graphs once more, with every layer shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ptp_export.interop.configurations.configuration import (
    Configuration,
    EntropyFiles,
    Opened,
    with_layers_shown,
)
from ptp_export.interop.layer_names import layer_names
from ptp_runtime.entropy_path import place_of, write_decoded
from ptp_runtime.latents import Latents
from ptp_runtime.manifest import HYPER_GRAPH, Manifest


@dataclass(frozen=True)
class LayerDifference:
    """The first layer, in the order of computation, that differs.

    Attributes:
        graph: ``hyper`` or a step.
        layer: its name in the ONNX file.
        differing: of its values.
        values: of the layer.
    """

    graph: str
    layer: str
    differing: int
    values: int


def differing_layer(
    files: EntropyFiles,
    manifest: Manifest,
    sender: Configuration,
    receiver: Configuration,
    sent: Latents,
    step: int,
) -> LayerDifference | None:
    """Run the graphs up to a step on both, each on what the sender's graphs gave, and compare all layers.

    Args:
        files: of the integer path.
        manifest: of the bundle.
        sender, receiver: neither may be the numpy oracle, which hands on other numbers than the files say.
        sent: what the sender coded.
        step: the first one whose outputs differ.

    Returns:
        None where no layer differs, or the path is a float path, whose layers have no names.
    """
    if manifest.entropy.mode != "integer":
        return None
    schedule = manifest.entropy.schedule[: step + 1]
    names = (HYPER_GRAPH, *(entry.graph for entry in schedule))
    layers = {name: layer_names(files.models[name]) for name in names}
    shown = EntropyFiles({name: with_layers_shown(files.models[name]) for name in names})
    ours, theirs = sender.open(shown), receiver.open(shown)
    try:
        return _first(ours, theirs, manifest, layers, sent, step)
    finally:
        ours.close()
        theirs.close()


def _first(
    ours: Opened, theirs: Opened, manifest: Manifest, layers: Mapping[str, tuple[str, ...]], sent: Latents, step: int
) -> LayerDifference | None:
    tensors: dict[str, NDArray[Any]] = {"z_hat": sent.z[None].astype(np.float32)}
    latent = np.zeros_like(sent.y_int)
    for number in range(-1, step + 1):
        name = HYPER_GRAPH if number < 0 else manifest.entropy.schedule[number].graph
        inputs = {**tensors, "y_int": latent.copy()}
        wanted = {tensor.name: inputs[tensor.name] for tensor in manifest.graph(name).inputs}
        expected, got = ours.graphs[name].run(wanted), theirs.graphs[name].run(wanted)
        for layer in layers[name]:
            if count := int(np.count_nonzero(expected[layer] != got[layer])):
                return LayerDifference(name, layer, count, expected[layer].size)
        tensors |= {tensor.name: expected[tensor.name] for tensor in manifest.graph(name).outputs}
        if number >= 0:
            record = sent.steps[number]
            place = place_of(manifest.entropy.schedule[number], *latent.shape[2:])
            write_decoded(latent[0], record.symbols, record.mean, place)
    return None
