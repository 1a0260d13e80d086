"""``docs/results.md`` from the JSON files in ``benchmarks/results``: no figure on that page is typed by hand.

python benchmarks/report.py            writes the page
python benchmarks/report.py --check    fails when the page is not what the files say
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import click

RESULTS = Path(__file__).with_name("results")
PAGE = Path(__file__).parents[1] / "docs" / "results.md"


def _load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return document


def _environment(document: dict[str, Any]) -> str:
    env = document["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in env["packages"].items())
    return (
        f"Measured on: {env['processor']}, {env['cores']} cores, {env['system']}, Python {env['python']}; {packages}."
    )


def _table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["---"] + ["---:"] * (len(head) - 1)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def photos() -> str:
    document = _load("photos.json")
    rows = []
    for row in document["photos"]:
        ms = row["milliseconds"]
        rows.append(
            [
                f"{row['photo']} ({row['width']}×{row['height']})",
                str(row["bytes"]),
                f"{row['bpp']:.3f}",
                f"{ms['encode']:.0f}",
                f"{ms['eager encode']:.0f}",
                f"{row['encode_ratio']:.2f}×",
                f"{ms['decode']:.0f}",
                f"{ms['eager decode']:.0f}",
                f"{row['decode_ratio']:.2f}×",
                f"{row['symbols_different']} of {row['symbols_compared']:,}",
            ]
        )
    head = [
        "photo",
        "bytes",
        "bpp",
        "encode ms",
        "eager",
        "faster",
        "decode ms",
        "eager",
        "faster",
        "symbols that differ",
    ]
    summary, setting = document["summary"], document["setting"]
    return f"""## Ten photographs

Task `seg`, FP16 graphs, ONNX Runtime on the CPU, {setting["threads"]} threads. *eager* is PyTorch running the same
networks in FP32 inside the same session code, with the same coder and threads, in the same process; rounds alternate, each
figure is the median of {setting["rounds"]}. Bits are the stream's real bytes over the photo's own pixels. The last column
compares every symbol, scale index and mean of encoder and decoder.

{_table(head, rows)}

Median over the photographs: encode {summary["encode_ratio"]:.2f}×, decode {summary["decode_ratio"]:.2f}× as fast as eager.
FP16 brings no speed on a CPU; the gain is the runtime's.

{_environment(document)}

    ptp-export --task seg --fp16 -o BUNDLE && python benchmarks/photos.py BUNDLE --json benchmarks/results/photos.json
"""


def graphs() -> str:
    document = _load("graphs.json")
    rows = []
    for row in document["graphs"]:
        fp16 = row["fp16"]
        rows.append(
            [
                f"{row['graph']} ({row['role']})",
                row["precision"],
                f"{row['onnx_bytes'] / 1000:.0f}",
                f"{row['engine_bytes'] / 1000:.0f}",
                f"{row['build_seconds']:.1f}",
                f"{fp16['share_of_layers']:.0%}" if fp16 else "–",
                f"{fp16['share_of_arithmetic']:.1%}" if fp16 else "–",
                f"{row['worst_error']:.1e}",
                f"{row['typical_error']:.1e}",
            ]
        )
    head = [
        "graph (role)",
        "precision",
        "ONNX kB",
        "TensorRT-RTX kB",
        "build s",
        "FP16 layers",
        "FP16 arithmetic",
        "worst error",
        "typical",
    ]
    return f"""## Every graph

TensorRT-RTX engines are built here without a GPU; none has run on one yet. Errors are against PyTorch in FP32, of the ONNX
graphs in ONNX Runtime on the CPU, on the shipped parity photographs: *worst* is the largest difference over the largest
value, *typical* the relative root mean square; for the steps' integers both are the share of values that differ. What
stays in FP32 inside an FP16 graph is listed with its reason in the bundle's manifest.

{_table(head, rows)}

{_environment(document)}

    ptp-export --task seg --fp16 --target onnx --target tensorrt-rtx -o BUNDLE
    python benchmarks/graphs.py BUNDLE --json benchmarks/results/graphs.json
"""


def compression() -> str:
    parts = []
    for name, title, source in (
        (
            "compression-held-out.json",
            "Held-out photographs",
            "Photos that neither stage of the codec's training read: 24 labelled ones and every third Debian one.",
        ),
        ("compression-shipped.json", "Parity photographs", "The shipped photos that no training reads."),
    ):
        document = _load(name)
        names = ("bits_per_pixel", "feature_error", "pixel_agreement", "mean_iou")
        rows, notes = [], []
        for entry in document["rates"]:
            summary, mark = entry["summary"], " (default)" if entry["rate"] == document["default_rate"] else ""
            rows += [
                [label, *(f"{summary[side][metric]:.3f}" for metric in names)]
                for label, side in ((f"ptp small, seg, rate {entry['rate']}{mark}", "ours"), ("JPEG", "jpeg"))
            ]
            ratios = [row["jpeg"]["bits_per_pixel"] / row["ours"]["bits_per_pixel"] for row in entry["photos"]]
            errors = [row["ours"]["feature_error"] for row in entry["photos"]]
            notes.append(
                f"Rate {entry['rate']}: ours is ahead in agreement of the mask on {summary['ahead_in_pixel_agreement']} of"
                f" {summary['photos']} photos; feature error {statistics.median(errors):.3f} in the median,"
                f" {max(errors):.3f} at worst; JPEG's bytes are {statistics.mean(ratios):.2f} times ours on average."
            )
        parts.append(
            f"""### {title}

{source} Below each rate, JPEG at (at least) the same bytes, photo by photo.

{_table(["codec", "bpp", "feature error", "pixel agreement", "mIoU with the teacher's mask"], rows)}

{chr(10).join(f"- {note}" for note in notes)}

"""
        )
    return f"""## Compression

The teacher's own answer on the uncompressed photo is the truth. *Feature error* is ‖h−ĥ‖²/‖h−mean(h)‖² at the cut (1 is no
better than the mean). JPEG is given the smallest file that is not smaller than our stream (progressive, optimised, 4:2:0,
no metadata), is decoded, and goes through the same teacher. Means over photographs.

{"".join(parts)}
{_environment(_load("compression-held-out.json"))}

    python benchmarks/compression.py BUNDLE PHOTO... --rate 0 --rate 3 --rate 5 --json benchmarks/results/compression-held-out.json
"""


def page() -> str:
    """The whole page."""
    return f"""# Results

Made by `python benchmarks/report.py` from the files in `benchmarks/results`.

{photos()}
{graphs()}
{compression()}"""


@click.command()
@click.option("--check", is_flag=True)
def main(check: bool) -> None:
    if not check:
        PAGE.write_text(page(), encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page():
        raise SystemExit(f"{PAGE.name} is not what benchmarks/results say: run python benchmarks/report.py")


if __name__ == "__main__":
    main()
