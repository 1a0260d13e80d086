"""``ptp inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ptp_runtime.bitstream import StreamHeader, read_header
from ptp_runtime.bundle import Bundle
from ptp_runtime.cli.options import golden_values, json_option, print_json, read_stream
from ptp_runtime.manifest import CentreCrop, EngineEntry, Manifest, TensorInfo, dict_from_manifest

if TYPE_CHECKING:
    from ptp_runtime.golden.gate import Examination


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@json_option
def inspect(path: Path, as_json: bool) -> None:
    """Show what a bundle or a stream holds; PATH is a bundle's directory or a stream's file.

    Every file of a bundle is verified against its SHA-256 first; a stream's checksum is verified. The golden test of an
    integer entropy path is run on the backends that are here; none is needed, and no GPU.

    \b
    Examples:
      ptp inspect BUNDLE
      ptp inspect photo.ptp
      ptp inspect BUNDLE --json
    """
    if path.is_file():
        data = read_stream(path)
        header = read_header(data)
        print_json(_stream_values(header, data)) if as_json else click.echo(_stream_text(header, data))
        return
    bundle = Bundle.open(path)
    sizes = {entry.file: bundle.verify(entry) for entry in bundle.manifest.files()}
    if as_json:
        values = dict_from_manifest(bundle.manifest)
        golden = [
            {"backend": one.backend, "reason": one.reason, "layer": one.layer, "result": golden_values(one.result)}
            for one in _examined(bundle)
        ]
        print_json({"manifest": values, "file_bytes": sizes, "unlisted_files": bundle.unlisted(), "golden": golden})
        return
    click.echo("\n".join(_bundle_lines(bundle, sizes)))


def _examined(bundle: Bundle) -> tuple[Examination, ...]:
    if bundle.manifest.entropy.golden is None:
        return ()
    # It brings numba along, a second that most bundles need not wait for.
    from ptp_runtime.golden.gate import examine_backends

    return examine_backends(bundle)


def _stream_values(header: StreamHeader, data: bytes) -> dict[str, Any]:
    pixels = header.width * header.height
    return {
        "bytes": len(data),
        "payload_bytes": header.payload_bytes,
        "bpp": 8 * len(data) / pixels,
        "width": header.width,
        "height": header.height,
        "original_width": header.original_width or header.width,
        "original_height": header.original_height or header.height,
        "task": header.task,
        "identity": header.identity.hex(),
        "steps": header.steps,
        "skip_index": header.skip_index,
        "lanes": header.lanes,
        "probability_bits": header.probability_bits,
        "float_entropy": header.float_entropy,
        "arithmetic": header.arithmetic.hex(),
        "means_sealed": header.seals_means,
        "step_checks": header.step_checks,
        "rate": header.rate,
        "quality": header.quality,
    }


def _stream_text(header: StreamHeader, data: bytes) -> str:
    values = _stream_values(header, data)
    return "\n".join(
        (
            f"stream of {len(data)} bytes, {values['bpp']:.4f} bpp over {header.width}×{header.height} pixels",
            f"  task {header.task}, model {header.identity.hex()}, rate {header.rate}, quality {header.quality}",
            f"  {header.steps} steps, {header.lanes} lanes, skip index {header.skip_index},"
            f" {header.probability_bits} probability bits,"
            f" {'with' if header.step_checks else 'without'} step checks",
            f"  {_path_sentence(header)}",
        )
    )


def _path_sentence(header: StreamHeader) -> str:
    if not header.float_entropy:
        return "integer entropy path: any exact machine decodes it"
    if not header.arithmetic:
        return "float entropy path; which arithmetic wrote it is not said"
    return f"float entropy path: only the arithmetic {header.arithmetic.hex()} decodes it"


def _bundle_lines(bundle: Bundle, sizes: dict[str, int]) -> list[str]:
    manifest = bundle.manifest
    lines = _summary(manifest, sum(sizes.values()))
    if len(bundle.tasks) > 1:
        lines.append(f"  tasks     {', '.join(bundle.tasks)}: they share graphs, and each has its prompts (--task)")
    if manifest.side != "both":
        lines.append(f"  side      the {manifest.side}'s alone")
    lines += [
        f"  {'golden' if not n else '':<9} {one.backend}: {one.sentence()}" for n, one in enumerate(_examined(bundle))
    ]
    if manifest.entropy.mode == "integer" and manifest.entropy.golden is None:
        lines.append("  golden    none: whether a backend is exact cannot be seen")
    lines += ["", "graphs"]
    for graph in manifest.graphs:
        lines.append(f"  {graph.name:<12} {graph.role:<10} {graph.precision:<8} {_size(sizes, graph.file):>10}")
        lines.append(f"               {_tensors(graph.inputs)} → {_tensors(graph.outputs)}")
    lines += ["", "engines" if manifest.engines else "engines: none"]
    for engine in manifest.engines:
        lines.append(
            f"  {engine.graph:<12} {engine.target:<12} {engine.precision:<8} {_size(sizes, engine.file):>10}"
            f"  built with {engine.built_with}{_about(engine)}"
        )
    tools = ", ".join(f"{name} {version}" for name, version in manifest.tools.items())
    lines += ["", f"made with {tools or 'unknown tools'}"]
    if unlisted := bundle.unlisted():
        lines.append(f"not part of the bundle, and never used: {', '.join(unlisted)}")
    return lines


def _summary(manifest: Manifest, total: int) -> list[str]:
    task, entropy, pre = manifest.task, manifest.entropy, manifest.preprocessing
    spec = ", ".join(f"{key} {value}" for key, value in manifest.model.spec.items() if isinstance(value, (str, int)))
    lines = [
        f"bundle of {total:,} bytes, every file as exported",
        f"  task      {task.name} (id {task.id})" + (f", {len(task.classes)} classes" if task.classes else ""),
        f"  model     {spec or 'no spec'}",
        f"  weights   checkpoint {manifest.model.checkpoint_sha256[:16]}…",
        f"  entropy   {entropy.mode}, identity {entropy.identity[:8]}…, {len(entropy.schedule)} steps,"
        f" {entropy.latent_channels} + {entropy.hyper_channels} channels",
        f"  sizes     padded to a multiple of {pre.multiple}: {pre.height[0]}–{pre.height[1]} high,"
        f" {pre.width[0]}–{pre.width[1]} wide",
    ]
    if entropy.rates is not None:
        lines.append(
            f"  rates     {entropy.rates.count}, of which 0 takes the fewest bits;"
            f" {entropy.rates.default} unless asked otherwise"
        )
    if isinstance(pre.resize, CentreCrop):
        lines.append(
            f"  resize    before the codec: shorter side to {pre.resize.shorter_side},"
            f" then the centred {pre.resize.crop}×{pre.resize.crop} pixels ({pre.resize.interpolation})"
        )
    elif pre.resize is not None:
        lines.append(
            f"  resize    before the codec: shorter side to {pre.resize.shorter_side},"
            f" longer at most {pre.resize.longer_side}"
        )
    return lines


def _about(engine: EngineEntry) -> str:
    """What else is to be known of an engine, behind a comma each."""
    facts = [f"for {', '.join(engine.devices)}"] if engine.devices else []
    facts += [f"{kind}-compatible" for kind in engine.compatible]
    facts += ["without weights"] if engine.stripped else []
    facts += [f"proved on the {engine.proof}"] if engine.proof else []
    return "".join(f", {fact}" for fact in facts)


def _size(sizes: dict[str, int], file: str) -> str:
    return f"{sizes[file]:,} B"


def _tensors(tensors: tuple[TensorInfo, ...]) -> str:
    return ", ".join(f"{t.name} {t.dtype}[{', '.join(str(n) for n in t.shape)}]" for t in tensors)
