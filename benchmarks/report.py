"""``docs/results.md`` and ``docs/reliability.md`` from ``benchmarks/results``: no figure on them is typed by hand.

python benchmarks/report.py            writes the pages
python benchmarks/report.py --check    fails when a page is not what the files say
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from ablations_section import ablations_section
from aims_section import aims_section
from coder_section import coder_section
from engines_section import engines_section
from interop_section import interop_section
from latency_section import latency_section
from reliability_page import reliability_page
from shared_section import shared_section

RESULTS = Path(__file__).with_name("results")
#: Points above are in the JSON files; nobody runs a codec for machines there.
MOST_BPP = 1.3
PAGE = Path(__file__).parents[1] / "docs" / "results.md"


def _load(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((RESULTS / name).read_text(encoding="utf-8"))
    return document


def _environment(document: dict[str, Any]) -> str:
    env = document["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in env["packages"].items())
    processor = f"{env['processor']}, " if "processor" in env else ""
    return f"Measured on: {processor}{env['cores']} cores, {env['system']}, Python {env['python']}; {packages}."


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
networks in FP32 (in the entropy path, the same integer graphs) inside the same session code, with the same coder and threads,
in the same process; rounds alternate, each figure is the median of {setting["rounds"]}. Bits are the stream's real bytes over the photo's own pixels. The last column
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


def entropy_path() -> str:
    document = _load("entropy-path.json")
    rows = [
        [
            str(row["rate"]),
            f"{row['float']['bpp']:.4f}",
            f"{row['integer']['bpp']:.4f}",
            f"{row['cost']:+.2%}",
            f"{row['worst_photo']:+.2%}",
            f"{row['float']['feature_error']:.4f}",
            f"{row['integer']['feature_error']:.4f}",
            *("{value:.3f} ({low:.3f}–{high:.3f})".format(**row[path]["fidelity"]) for path in ("float", "integer")),
        ]
        for row in document["rates"]
    ]
    head = [
        "rate",
        "bpp, float",
        "integer",
        "bytes",
        "worst photo",
        "feature error, float",
        "integer",
        "fidelity, float",
        "integer",
    ]
    speed, certificate = document["speed"], document["certificate"]
    times = speed["milliseconds"]
    steps = [
        [name, f"{a:.2f}", f"{b:.2f}", f"{b / a:.2f}×"]
        for name, a, b in zip(speed["graphs"], times["float"], times["integer"], strict=True)
    ]
    steps.append(
        ["all", f"{speed['whole']['float']:.2f}", f"{speed['whole']['integer']:.2f}", f"{speed['ratio']:.2f}×"]
    )
    closest = certificate["closest"][0]
    share = document["clipped"]
    clipped = f"at most {share:.3%} of a layer's activations are" if share else "no activation is"
    return f"""## The entropy path in whole numbers

Task `{document["task"]}`, preset `{document["preset"]}`, {document["precision"]}, {document["photos"]} photographs ({document["photos_from"]}) that the
path was not calibrated on. Both paths code the same latents into real streams; *bytes* is what the integer path takes more, all
photographs together; *fidelity* is {document["fidelity"]} with a 95 % interval. How it works: [entropy-path.md](entropy-path.md).

{_table(head, rows)}

Certificate: {certificate["layers"]} accumulators; the closest to 2^24 is {closest["layer"]}, at {closest["share"]:.2%}. Operands of at
most 11 significant bits in {certificate["tf32_operands"]} of them. On the samples {clipped} clipped.
Conversion: {document["conversion_seconds"]:.0f} s.

Milliseconds of the graphs at 512 × 512 pixels, ONNX Runtime on the CPU, {document["threads"]} threads, median of {document["rounds"]} alternating rounds
(`hyper` computes the hyper parameters' share of every step beforehand, so that the steps are shorter):

{_table(["graph", "float", "integer", "ratio"], steps)}

The golden test's graphs take {speed["golden_milliseconds"]:.0f} ms when a session opens; its file has {speed["golden_bytes"] / 1000:.0f} kB.

{_environment(document)}

    python benchmarks/entropy_path.py --data COCO_MINI --limit 16 --json benchmarks/results/entropy-path.json
"""


def _interval(point: dict[str, Any], name: str) -> str:
    figure = point["figures"][name]
    return f"{figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})"


def _percent(delta: dict[str, Any]) -> str:
    if delta["percent"] is None:
        return "–"
    return f"{delta['percent']:+.0f} %" + ("*" if delta["at_one_rate"] else "") + ("†" if delta.get("unsteady") else "")


def _picture(name: str, title: str) -> str:
    """The curves, cut from the page that ``ptp eval --html`` wrote, where there are any."""
    file = PAGE.with_name("images") / name.replace(".json", ".png")
    return f"\n![{title}: curves of every codec](images/{file.name})\n" if file.exists() else ""


def evaluation(name: str, title: str, command: str) -> str:
    """One evaluation: every point of every codec, and the delta rates."""
    document = _load(name)
    names = document["names"]["figures"]
    labelled = sum(photo["labelled"] for photo in document["photos"])
    rows = [
        [
            f"{point['codec']} {point['rate']}",
            f"{point['bpp']:.3f}",
            f"{point['feature_error']:.3f}",
            *(_interval(point, figure) for figure in names),
        ]
        for point in document["points"]
        if point["bpp"] <= MOST_BPP
    ]
    figures = ("feature_error", *names)
    deltas = [[codec, *(_percent(delta[figure]) for figure in figures)] for codec, delta in document["bd_rate"].items()]
    compared = ""
    if deltas:
        compared = f"Delta rate of ours against each codec, at equal:\n\n{_table(['codec', *figures], deltas)}\n"
    teacher = "".join(
        f"The teacher itself on the uncompressed photos: {figure['value']:.3f} ({figure['low']:.3f}–{figure['high']:.3f})"
        f" {names[key]}.\n"
        for key, figure in document["teacher_figures"].items()
    )
    legend = "; ".join(f"`{key}`: {words}" for key, words in names.items())
    return f"""### {title}

{document["title"]} on {len(document["photos"])} photos ({labelled} labelled). {legend}. In brackets: 95 % intervals. Points up to {MOST_BPP} bpp; the rest is in
`benchmarks/results/{name}`.
{_picture(name, title)}
{_table(["codec and setting", "bpp", "feature error", *names], rows)}

{teacher}
{compared}
{chr(10).join(f"- {note}" for note in document["notes"])}

{_environment(document)}{_rivals(document)}

    {command}
"""


def _rivals(document: dict[str, Any]) -> str:
    """Where the other codecs' figures are an earlier evaluation's: they depend on photographs and teacher alone."""
    if not document.get("rivals_environment"):
        return ""
    return " The other codecs' figures are those of an earlier evaluation of the same photographs and teacher (`--rivals`)."


def teachers() -> str:
    document = _load("teachers.json")
    titles = {"seg": ("Segmentation", {"miou": "mIoU"}), "det": ("Detection", {"ap50": "AP50", "map": "mAP"})}
    parts = []
    for task, (title, names) in titles.items():
        found = document["tasks"][task]
        rows = [
            [name, *(f"{row[key]['value']:.3f} ({row[key]['low']:.3f}–{row[key]['high']:.3f})" for key in names)]
            for name, row in found["rows"].items()
        ]
        parts.append(
            f"{title}: {found['photos']} labelled photos that nothing was trained on; heads learned from "
            f"{found['learned_from']}.\n\n{_table([title.lower(), *names.values()], rows)}\n"
        )
    return f"""## The teachers

How good the networks behind the codec are by themselves, on uncompressed photos, against COCO's labels. They are weak: about a
hundred labelled photos taught their heads. What a codec keeps of them is therefore measured against their own answers first.
The short trainings are equal but for the backbone.

{chr(10).join(parts)}
{_environment(document)}

    python benchmarks/teachers.py --data COCO_MINI --json benchmarks/results/teachers.json
"""


def compression() -> str:
    parts = [
        evaluation(name, title, command)
        for name, title, command in (
            (
                "eval-cls.json",
                "Classification",
                "ptp-export --task cls --fp16 -o BUNDLE && ptp eval BUNDLE --data COCO_MINI --data photos/held-out "
                "--held-out --threads 2 --json benchmarks/results/eval-cls.json",
            ),
            (
                "eval-seg.json",
                "Segmentation",
                "ptp-export --task seg --fp16 -o BUNDLE && ptp eval BUNDLE --data COCO_MINI --held-out --threads 2 "
                "--json benchmarks/results/eval-seg.json",
            ),
            (
                "eval-seg-many.json",
                "Segmentation, fidelity on more photographs",
                "ptp eval BUNDLE --data COCO_MINI --data photos/held-out --held-out --codecs '' --threads 2 "
                "--json benchmarks/results/eval-seg-many.json",
            ),
            (
                "eval-det.json",
                "Detection",
                "ptp-export --task det --fp16 -o BUNDLE && ptp eval BUNDLE --data COCO_MINI --held-out --threads 2 "
                "--json benchmarks/results/eval-det.json",
            ),
        )
    ]
    return f"""## Compression

Photographs that nothing was trained on: 24 labelled ones from COCO, so that intervals are wide, and for figures without
labels 142 from Debian packages beside them. The teacher's own answer on the uncompressed photo is the truth (fidelity);
*feature error* is ‖h−ĥ‖²/‖h−mean(h)‖² at the cut (1 is no better than the mean). Means over photographs of bits and
feature error; [evaluation.md](evaluation.md) says how the rest is counted. A star: the curves meet at one rate only; a
dagger: noise decides.

{chr(10).join(parts)}"""


def page() -> str:
    """The whole page."""
    interop, coder, ablations = _load("interop.json"), _load("coder.json"), _load("ablations.json")
    engines, shared, chain = _load("engines.json"), _load("shared_prompts.json"), _load("end_to_end.json")
    return f"""# Results

Made by `python benchmarks/report.py` from the files in `benchmarks/results`. Ten photographs, Compression and What was aimed at
are of the demo that ships, with eight rates; graphs, entropy path, interop, engines, shared prompts and latency were measured with the
one before, which had the same graphs, other weights and six rates.

{photos()}
{graphs()}
{entropy_path()}
{interop_section(interop, _table, _environment(interop))}
{coder_section(coder, _table, _environment(coder))}
{teachers()}
{compression()}
{aims_section(_load, _table)}
{ablations_section(ablations, _table, _environment(ablations))}
{engines_section(engines, _table, _environment(engines))}
{shared_section(shared, _table, _environment(shared))}
{latency_section(chain, _load("end_to_end_passive.json"), _load("scaling.json"), _load("batches.json"), _table, _environment(chain))}"""


def reliability() -> str:
    documents = (_load(f"{name}.json") for name in ("soak", "bulk", "faults", "fuzz"))
    return reliability_page(*documents, _table, _environment)


PAGES: dict[Path, Callable[[], str]] = {PAGE: page, PAGE.with_name("reliability.md"): reliability}


@click.command()
@click.option("--check", is_flag=True)
def main(check: bool) -> None:
    for path, make in PAGES.items():
        if not check:
            path.write_text(make(), encoding="utf-8")
        elif path.read_text(encoding="utf-8") != make():
            raise SystemExit(f"{path.name} is not what benchmarks/results say: run python benchmarks/report.py")


if __name__ == "__main__":
    main()
