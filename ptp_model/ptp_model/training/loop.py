"""The training loop both stages share: Muon and Adam, warm-up and cosine decay, averaged weights, resume, metrics.

A run lives in a folder: ``state.safetensors`` (everything to resume, written beside and renamed), ``metrics.jsonl``
(one line every ``log_every`` steps).
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from ptp_model.errors import CheckpointError, NotSavedError
from ptp_model.files import write_beside
from ptp_model.training.muon import Muon, layer_weights

#: Everything to resume a run, in its folder.
STATE = "state.safetensors"


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
        precision: of the transforms and the teacher; ``float32`` or ``bfloat16``.
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
    precision: str = "float32"


@dataclass(frozen=True)
class Watch:
    """What a run tells while it goes on.

    Attributes:
        report: called with the figures of the last ``log_every`` steps.
        tick: called after every step with the number of steps that are done, and once at the start.
    """

    report: Callable[[Mapping[str, float]], None] = lambda _: None
    tick: Callable[[int], None] = lambda _: None


SILENT = Watch()
#: All parameters learn at the same pace.
EVEN: Mapping[str, float] = MappingProxyType({})


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

    def __init__(
        self, module: nn.Module, parameters: Mapping[str, Tensor], config: LoopConfig, pace: Mapping[str, float]
    ) -> None:
        self.config = config
        layers = layer_weights(module) if config.muon_rate else set()
        groups: dict[tuple[bool, float], list[Tensor]] = {}
        for name, p in parameters.items():
            factor = next((factor for prefix, factor in pace.items() if name.startswith(prefix)), 1.0)
            groups.setdefault((name in layers, factor), []).append(p)
        self.parts: list[tuple[torch.optim.Optimizer, float]] = []
        for (is_layer, factor), members in groups.items():
            rate = factor * (config.muon_rate if is_layer else config.learning_rate)
            self.parts.append(
                (Muon(members, rate) if is_layer else torch.optim.Adam(members, lr=rate, fused=True), rate)
            )

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
    watch: Watch = SILENT,
    pace: Mapping[str, float] = EVEN,
) -> None:
    """Train the parameters of ``module`` that require a gradient; on return it holds the averaged weights.

    Interrupt it at any point and call it again with the same arguments: it goes on from the last saved state.

    Args:
        pace: start of a parameter's name → what its learning rate is multiplied by; 1 where nothing fits.

    Raises:
        CheckpointError: the folder holds a run with another configuration or other parameters.
        FloatingPointError: the loss or its gradient is not finite; the last good state stays.
        NotSavedError: the disk is full; the last good state stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not parameters:
        raise CheckpointError("nothing to train: no parameter requires a gradient")
    optimiser = _Optimiser(module, parameters, config, pace)
    average = {name: p.detach().clone() for name, p in parameters.items()}
    start = _resume(folder, config, parameters, average, optimiser)
    saved, clock, seen = start, time.perf_counter(), start
    watch.tick(start)
    totals: dict[str, float] = {}
    gradients = _Gradients(step_function, list(parameters.values()), config)
    for step in range(start, config.steps):
        loss, figures = gradients.of_step(step)
        norm = nn.utils.clip_grad_norm_(parameters.values(), config.clip)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise FloatingPointError(
                f"the loss is {loss} and its gradient's norm {float(norm)} at step {step}; "
                f"{_last_good(folder, saved)}; lower the learning rate and choose another folder"
            )
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
            _log(folder, line, saved)
            watch.report(line)
            clock, seen, totals = time.perf_counter(), done, {}
        if done % config.save_every == 0 or done == config.steps:
            try:
                _save(folder, config, done, parameters, average, optimiser)
            except NotSavedError as error:
                raise NotSavedError(
                    f"{error}; {_last_good(folder, saved)}; give the same command again then"
                ) from error
            saved = done
        watch.tick(done)
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
    metadata = {"state": json.dumps({"step": step, "config": asdict(config)})}
    write_beside(folder / STATE, save(tensors, metadata))


def _log(folder: Path, line: Mapping[str, float], saved: int) -> None:
    path = folder / "metrics.jsonl"
    try:
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")
    except OSError as error:
        raise NotSavedError(
            f"{path}: expected to add a line, got: {error.strerror}; {_last_good(folder, saved)}; make room there and "
            "give the same command again"
        ) from error


def _last_good(folder: Path, saved: int) -> str:
    return f"the last good state is that of step {saved} in {folder / STATE}" if saved else "no state was saved yet"


def _resume(
    folder: Path,
    config: LoopConfig,
    parameters: Mapping[str, Tensor],
    average: dict[str, Tensor],
    optimiser: _Optimiser,
) -> int:
    path = folder / STATE
    if not path.exists():
        return 0
    with safe_open(path, framework="pt") as file:
        state = json.loads(file.metadata()["state"])
        # A setting that is younger than the run had its default then.
        theirs = asdict(LoopConfig(config.steps)) | state["config"]
        if theirs != asdict(config):
            raise CheckpointError(
                f"{path} is a run with {theirs}; expected {asdict(config)}; continue it with its own settings "
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
                optimiser.restore(p, {key: value.to(p.device) for key, value in state.items()})
    return step
