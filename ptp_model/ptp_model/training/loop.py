"""The training loop both stages share: Muon and Adam, warm-up and cosine decay, averaged weights, resume, metrics.

A run lives in a folder: ``state.safetensors`` + ``state.json`` (everything to resume, written beside and renamed),
``metrics.jsonl`` (one line every ``log_every`` steps).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ptp_model.errors import CheckpointError
from ptp_model.training.muon import Muon, layer_weights


@dataclass(frozen=True)
class LoopConfig:
    """How long and how hard to train; everything a resumed run must agree with.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: of Adam, which trains all but the weights of layers; the peak, after ``warmup_steps``, from where
            it decays on a cosine to 2 %.
        muon_rate: of Muon, which trains the weights of layers; with the same course. 0: Adam trains everything.
        clip: limit of the gradient's norm. (Muon's steps do not depend on it.)
        ema: decay of the averaged weights, which are what is saved as the result.
        seed: of the noise (crops have their own).
        shards: equal parts of a batch that are computed side by side, each by threads of its own. On a CPU this keeps
            the cores busy where a single small convolution cannot: on two cores it saves a sixth of the time.
    """

    steps: int
    learning_rate: float = 1e-3
    muon_rate: float = 0.02
    warmup_steps: int = 50
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    shards: int = 1
    log_every: int = 50
    save_every: int = 200


@dataclass(frozen=True)
class Shard:
    """A part of one step's batch. What is random in it may depend on these fields alone, so that runs can be resumed.

    Attributes:
        step: of the optimiser.
        index, count: which of how many parts.
        generator: for noise, seeded for this very part.
    """

    step: int
    index: int
    count: int
    generator: torch.Generator

    @property
    def number(self) -> int:
        """Counts the parts of the whole run."""
        return self.step * self.count + self.index

    def share(self, batch: int) -> int:
        """How many of a batch's elements this part has, at least one."""
        return max(1, batch // self.count)


#: Part of a batch → (its mean loss, figures to log).
StepFunction = Callable[[Shard], tuple[Tensor, Mapping[str, Tensor]]]


def course(config: LoopConfig, step: int) -> float:
    """What every learning rate is multiplied by: linear warm-up, then a cosine from 1 to 0.02."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    progress = min(1.0, step / max(1, config.steps))
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


class _Optimiser:
    """Muon for the weights of layers, Adam for the other parameters."""

    def __init__(self, module: nn.Module, parameters: Mapping[str, Tensor], config: LoopConfig) -> None:
        self.config = config
        layers = layer_weights(module) if config.muon_rate else set()
        muon = [p for name, p in parameters.items() if name in layers]
        others = [p for name, p in parameters.items() if name not in layers]
        self.parts: list[tuple[torch.optim.Optimizer, float]] = []
        if muon:
            self.parts.append((Muon(muon, config.muon_rate), config.muon_rate))
        if others:
            adam = torch.optim.Adam(others, lr=config.learning_rate, fused=True)
            self.parts.append((adam, config.learning_rate))

    def step(self, number: int) -> None:
        for optimiser, rate in self.parts:
            optimiser.param_groups[0]["lr"] = rate * course(self.config, number)
            optimiser.step()

    def state(self, p: Tensor) -> dict[str, Tensor]:
        """What is remembered of a parameter, by name (empty before its first step)."""
        found: dict[str, Tensor] = {}
        for optimiser, _ in self.parts:
            if p in optimiser.state:
                found = optimiser.state[p]
        return found

    def restore(self, p: Tensor, state: dict[str, Tensor]) -> None:
        """Inverse of :meth:`state`."""
        for optimiser, _ in self.parts:
            if any(p is other for other in optimiser.param_groups[0]["params"]):
                optimiser.state[p] = state


def train(
    module: nn.Module,
    step_function: StepFunction,
    config: LoopConfig,
    folder: Path,
    report: Callable[[Mapping[str, float]], None] = lambda _: None,
) -> None:
    """Train the parameters of ``module`` that require a gradient; on return it holds the averaged weights.

    Interrupt it at any point and call it again with the same arguments: it goes on from the last saved state.

    Raises:
        CheckpointError: the folder holds a run with another configuration or other parameters.
        FloatingPointError: the loss is not finite.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not parameters:
        raise CheckpointError("nothing to train: no parameter requires a gradient")
    optimiser = _Optimiser(module, parameters, config)
    average = {name: p.detach().clone() for name, p in parameters.items()}
    start = _resume(folder, config, parameters, average, optimiser)
    clock, seen = time.perf_counter(), start
    totals: dict[str, float] = {}
    gradients = _Gradients(step_function, list(parameters.values()), config)
    for step in range(start, config.steps):
        loss, figures = gradients.of_step(step)
        if not math.isfinite(loss):
            kept = step - step % config.save_every
            raise FloatingPointError(
                f"the loss is {loss} at step {step}; the last good state is that of step {kept} in {folder}; "
                "lower the learning rate"
            )
        nn.utils.clip_grad_norm_(parameters.values(), config.clip)
        optimiser.step(step)
        decay = min(config.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, p in parameters.items():
                average[name].lerp_(p, 1 - decay)
        for name, value in {"loss": loss, **figures}.items():
            totals[name] = totals.get(name, 0.0) + value
        done = step + 1
        if done % config.log_every == 0 or done == config.steps:
            seconds = (time.perf_counter() - clock) / (done - seen)
            line = {"step": done, "seconds_per_step": seconds, "eta_minutes": seconds * (config.steps - done) / 60}
            line |= {name: value / (done - seen) for name, value in totals.items()}
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            report(line)
            clock, seen, totals = time.perf_counter(), done, {}
        if done % config.save_every == 0 or done == config.steps:
            _save(folder, config, done, parameters, average, optimiser)
    with torch.no_grad():
        for name, p in parameters.items():
            p.copy_(average[name])


class _Gradients:
    """Computes the shards of a step side by side and leaves the mean of their gradients in the parameters."""

    def __init__(self, step_function: StepFunction, parameters: Sequence[Tensor], config: LoopConfig) -> None:
        self.step_function, self.parameters, self.config = step_function, parameters, config
        threads = max(1, torch.get_num_threads() // config.shards)
        self.pool = (
            ThreadPoolExecutor(config.shards, initializer=torch.set_num_threads, initargs=(threads,))
            if config.shards > 1
            else None
        )

    def of_step(self, step: int) -> tuple[float, dict[str, float]]:
        """Mean loss and figures of a step."""
        count = self.config.shards
        shards = [Shard(step, i, count, self._generator(step * count + i)) for i in range(count)]
        results = list(self.pool.map(self._of_shard, shards)) if self.pool else [self._of_shard(shards[0])]
        for i, p in enumerate(self.parameters):
            parts = [gradients[i] for _, _, gradients in results]
            p.grad = parts[0] if count == 1 else torch.stack(parts).mean(0)
        loss = sum(loss for loss, _, _ in results) / count
        names = results[0][1]
        return loss, {name: sum(figures[name] for _, figures, _ in results) / count for name in names}

    def _of_shard(self, shard: Shard) -> tuple[float, dict[str, float], Sequence[Tensor]]:
        loss, figures = self.step_function(shard)
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True, materialize_grads=True)
        return float(loss.detach()), {name: float(value.detach()) for name, value in figures.items()}, gradients

    def _generator(self, number: int) -> torch.Generator:
        return torch.Generator(self.parameters[0].device).manual_seed(self.config.seed * 1_000_003 + number)


def _save(
    folder: Path,
    config: LoopConfig,
    step: int,
    parameters: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    optimiser: _Optimiser,
) -> None:
    tensors: dict[str, Tensor] = {}
    for name, p in parameters.items():
        tensors[f"weights/{name}"] = p.detach().contiguous().clone()
        tensors[f"average/{name}"] = average[name].contiguous().clone()
        for key, value in optimiser.state(p).items():
            tensors[f"{key}/{name}"] = value.contiguous().clone()
    beside = folder / "state.safetensors.part"
    save_file(tensors, beside, metadata={"state": json.dumps({"step": step, "config": asdict(config)})})
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    os.replace(beside, folder / "state.safetensors")


def _resume(
    folder: Path,
    config: LoopConfig,
    parameters: Mapping[str, Tensor],
    average: dict[str, Tensor],
    optimiser: _Optimiser,
) -> int:
    path = folder / "state.safetensors"
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        if state["config"] != asdict(config):
            raise CheckpointError(
                f"{path} is a run with {state['config']}; expected {asdict(config)}; continue it with its own settings "
                "or choose another folder"
            )
        kept: dict[str, dict[str, Tensor]] = {}
        for key in file.keys():  # noqa: SIM118 - not a mapping
            kind, name = key.split("/", 1)
            kept.setdefault(name, {})[kind] = file.get_tensor(key)
        if set(kept) != set(parameters):
            raise CheckpointError(f"{path} holds other parameters than this model; choose another folder")
        step = int(state["step"])
        with torch.no_grad():
            for name, p in parameters.items():
                state = kept[name]
                p.copy_(state.pop("weights"))
                average[name].copy_(state.pop("average"))
                optimiser.restore(p, state)
    return step
