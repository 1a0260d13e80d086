"""The training loop both stages share: Adam, warm-up and cosine decay, clipping, averaged weights, resume, metrics.

A run lives in a folder: ``state.safetensors`` + ``state.json`` (everything to resume, written beside and renamed),
``metrics.jsonl`` (one line every ``log_every`` steps).
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ptp_model.errors import CheckpointError


@dataclass(frozen=True)
class LoopConfig:
    """How long and how hard to train; everything a resumed run must agree with.

    Attributes:
        steps: optimiser steps in all.
        learning_rate: peak, after ``warmup_steps``; decays on a cosine to 2 % of it.
        clip: gradient norm limit.
        ema: decay of the averaged weights, which are what is saved as the result.
        seed: of the noise (crops have their own).
    """

    steps: int
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    log_every: int = 50
    save_every: int = 500


#: One training step: step number → (loss, figures to log).
StepFunction = Callable[[int], tuple[Tensor, Mapping[str, Tensor]]]


def learning_rate(config: LoopConfig, step: int) -> float:
    """Linear warm-up, then cosine to 2 % of the peak."""
    warm = min(1.0, (step + 1) / max(1, config.warmup_steps))
    progress = min(1.0, step / max(1, config.steps))
    return config.learning_rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))


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
    optimiser = torch.optim.Adam(parameters.values(), lr=config.learning_rate)
    average = {name: p.detach().clone() for name, p in parameters.items()}
    start = _resume(folder, config, parameters, average, optimiser)
    clock, seen = time.perf_counter(), start
    totals: dict[str, float] = {}
    for step in range(start, config.steps):
        torch.manual_seed(config.seed * 1_000_003 + step)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        loss, figures = step_function(step)
        if not torch.isfinite(loss):
            raise FloatingPointError(f"the loss is {loss.item()} at step {step}; lower the learning rate")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters.values(), config.clip)
        optimiser.step()
        decay = min(config.ema, (step + 1) / (step + 10))
        with torch.no_grad():
            for name, p in parameters.items():
                average[name].lerp_(p, 1 - decay)
        for name, value in {"loss": loss, **figures}.items():
            totals[name] = totals.get(name, 0.0) + float(value.detach())
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


def _save(
    folder: Path,
    config: LoopConfig,
    step: int,
    parameters: Mapping[str, Tensor],
    average: Mapping[str, Tensor],
    optimiser: torch.optim.Adam,
) -> None:
    tensors: dict[str, Tensor] = {}
    for name, p in parameters.items():
        state = optimiser.state[p]
        tensors[f"weights/{name}"] = p.detach().contiguous().clone()
        tensors[f"average/{name}"] = average[name].contiguous().clone()
        tensors[f"first/{name}"] = state["exp_avg"].contiguous().clone()
        tensors[f"second/{name}"] = state["exp_avg_sq"].contiguous().clone()
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
    optimiser: torch.optim.Adam,
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
        expected = {f"{kind}/{name}" for name in parameters for kind in ("weights", "average", "first", "second")}
        if expected != set(file.keys()):
            raise CheckpointError(f"{path} holds other parameters than this model; choose another folder")
        step = int(state["step"])
        with torch.no_grad():
            for name, p in parameters.items():
                p.copy_(file.get_tensor(f"weights/{name}"))
                average[name].copy_(file.get_tensor(f"average/{name}"))
                optimiser.state[p] = {
                    "step": torch.tensor(float(step)),
                    "exp_avg": file.get_tensor(f"first/{name}"),
                    "exp_avg_sq": file.get_tensor(f"second/{name}"),
                }
    return step
