"""The page's words, and where the plots stand."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from ptp_runtime.profiling.page.plots import breakdown, cold_bars, excess, percentile_curves, timeline
from ptp_runtime.profiling.page.style import STYLE, hue
from ptp_runtime.profiling.page.waterfall import path_sentence, waterfall
from ptp_runtime.profiling.percentiles import PERCENTILES
from ptp_runtime.profiling.stages import BETWEEN, SIDES, in_order
from ptp_runtime.profiling.table import device_memory

_LAYERS_SHOWN = 12


def page_of(document: Mapping[str, Any], verdict: Sequence[str] = ()) -> str:
    """The whole page.

    Args:
        document: see :mod:`ptp_runtime.profiling.schema`.
        verdict: sentences of a comparison with another profile; empty where there is none.
    """
    photo = document["photos"][0]
    title = f"Where the time goes: {document['bundle']['task']}, {photo['width']}×{photo['height']}"
    if len(document["photos"]) > 1:
        title = f"Where the time goes: {document['bundle']['task']}, {len(document['photos'])} photos"
    body = [
        f"<h1>{html.escape(title)}</h1>",
        f"<p class=small>{html.escape(_setting(document))}</p>",
        _cards(document),
        f"<p class=lead>{html.escape(_lead(document))}</p>",
        _stability(document),
        _compared(verdict),
        "<h2>The usual run</h2>",
        _legend(document),
        breakdown(document),
        _rivals(document),
        *_tails(document),
        "<h2>How long runs take</h2><p>Each curve is the time of a run over the share of runs that are faster.</p>",
        percentile_curves(document),
        "<h2>One run, as it happened</h2><p>The run in the middle and the slowest one, on one scale. Outlined: the"
        " critical path, what the end of the run waited for.</p>",
        *(_falls(document, side) for side in SIDES),
        "<h2>Every run</h2><p>"
        + html.escape(f"{document['rule']['sentence']}.".capitalize())
        + " Shaded: the windows whose runs count.</p>",
        timeline(document),
        _memory_and_start(document),
        _layers(document),
        f"<details open><summary>Every stage</summary>{_stages(document)}</details>",
        _about(document),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def _setting(document: Mapping[str, Any]) -> str:
    settings, machine = document["settings"], document["machine"]
    return f"{settings['backend']} on {machine['processor']}, {machine['cores']} cores, {machine['system']}"


def _cards(document: Mapping[str, Any]) -> str:
    cards = []
    for total in document["totals"]:
        doubt = "" if "p99" in document["resolved"] else "≈ "
        cards.append((f"{total['p50']:.1f} ms", f"{total['name']}, median"))
        cards.append((f"{doubt}{total['p99']:.1f} ms", f"{total['name']}, p99"))
    together = sum(total["mean"] for total in document["totals"])
    cards.append((f"{1e3 / together:.1f} /s", "photos, both in turn"))
    cold = document["cold_start"]
    if cold is not None:
        ms = cold["milliseconds"]
        first = ms["interpreter"] + ms["import"] + ms["open"] + ms["first decode"]
        cards.append((f"{first / 1e3:.2f} s", "a process to its first result"))
        cards.append((f"{cold['peak_bytes']['second decode'] / 1e6:.0f} MB", "receiver's memory at most"))
    return (
        "<div class=cards>"
        + "".join(f"<div class=card><b>{html.escape(v)}</b><span>{html.escape(n)}</span></div>" for v, n in cards)
        + "</div>"
    )


def _lead(document: Mapping[str, Any]) -> str:
    sentences = []
    for total in document["totals"]:
        groups: dict[str, float] = {}
        for stage in document["stages"]:
            if stage["side"] == total["name"]:
                name = "the context chain" if stage["stage"].startswith("context") else stage["stage"]
                groups[name] = groups.get(name, 0.0) + stage["share"]
        leaders = sorted(groups.items(), key=lambda item: -item[1])[:3]
        named = ", ".join(f"{name} {share:.0%}" for name, share in leaders)
        verb = "Encoding" if total["name"] == "encode" else "Decoding"
        sentences.append(f"{verb} takes {total['p50']:.1f} ms: {named}.")
    return " ".join(sentences)


def _stability(document: Mapping[str, Any]) -> str:
    kept, windows = document["kept_windows"], len(document["windows"])
    if document["stable"]:
        return f"<p class=small>Stable: the last {kept} of {windows} windows agree; {document['runs']} runs a side.</p>"
    return (
        "<div class=answer><b>Not stable.</b><p>The windows at the end do not agree, so the figures are of all of them:"
        " something else was going on, and the next profile may differ.</p></div>"
    )


def _compared(verdict: Sequence[str]) -> str:
    if not verdict:
        return ""
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in verdict[1:])
    return f"<div class=answer><b>{html.escape(verdict[0])}</b>{lines}</div>"


def _legend(document: Mapping[str, Any]) -> str:
    stages = in_order(stage["stage"].partition(" ")[0] for stage in document["stages"] if stage["stage"] != BETWEEN)
    chips = "".join(f'<span><i style="background:var(--{hue(s)})"></i>{html.escape(s)}</span>' for s in stages)
    return f'<p class=legend>{chips}<span><i style="background:var(--between)"></i>{BETWEEN}</span></p>'


def _rivals(document: Mapping[str, Any]) -> str:
    parts = []
    for rival in document["rivals"]:
        ratios = rival["ratios"]
        words = ", ".join(
            f"{name} {ratios[name]['ratio']:.2f}× ({ratios[name]['low']:.2f} to {ratios[name]['high']:.2f})"
            for name in (*SIDES, "both")
        )
        parts.append(
            f"<p>Against {html.escape(rival['provider'])}, in turn in the same process, ours is as many times as fast:"
            f" {words}.</p>"
        )
    return "".join(parts)


def _tails(document: Mapping[str, Any]) -> list[str]:
    parts = []
    p99 = {total["name"]: total["p99"] for total in document["totals"]}
    for tail in document["tails"]:
        side = tail["side"]
        sentence = tail["sentence"][0].upper() + tail["sentence"][1:]
        parts.append(
            f"<h2>Why is the p99 of {side} {p99[side]:.1f} ms?</h2>"
            f"<div class=answer><p>{html.escape(sentence)}.</p></div>{excess(tail)}"
        )
    return parts


def _falls(document: Mapping[str, Any], side: str) -> str:
    falls = [fall for fall in document["waterfalls"] if fall["side"] == side]
    longest = max(fall["total"] for fall in falls)
    return "".join(
        f"<h3>{side.capitalize()}, the {fall['which']} run: {html.escape(path_sentence(fall))}</h3>"
        + waterfall(fall, longest)
        for fall in falls
    )


def _memory_and_start(document: Mapping[str, Any]) -> str:
    cold = document["cold_start"]
    devices = "".join(f"<p>{html.escape(n)}: {size / 1e6:.0f} MB at most.</p>" for n, size in device_memory(document))
    if cold is None:
        return f"<h2>Memory</h2>{devices}" if devices else ""
    rows = [
        f"<tr><td>{html.escape(phase)}</td><td>{value:.0f}</td>"
        f"<td>{cold['peak_bytes'].get(phase, 0) / 1e6:.0f}</td></tr>"
        for phase, value in cold["milliseconds"].items()
    ]
    return (
        f"<h2>A fresh process</h2><p>Medians of {cold['rounds']:.0f} processes, the caches of files and of"
        f" compiled kernels filled. Memory: the most that was held up to the end of each phase.</p>{cold_bars(cold)}"
        f"{_table(['phase', 'ms', 'MB at most'], rows)}{devices}"
    )


def _layers(document: Mapping[str, Any]) -> str:
    parts = []
    for graph, layers in document["layers"].items():
        whole = sum(layer["milliseconds"] for layer in layers) or 1.0
        rows = [
            f"<tr><td>{html.escape(layer['name'])}</td><td>{html.escape(layer['operator'])}</td>"
            f"<td>{layer['milliseconds']:.3f}</td><td>{layer['milliseconds'] / whole:.1%}</td></tr>"
            for layer in layers[:_LAYERS_SHOWN]
        ]
        parts.append(
            f"<h3>{html.escape(graph)}: {len(layers)} layers, {whole:.2f} ms</h3>"
            + _table(["layer", "operator", "ms", "share"], rows)
        )
    return f"<details><summary>Layers</summary>{''.join(parts)}</details>" if parts else ""


def _stages(document: Mapping[str, Any]) -> str:
    names = list(PERCENTILES)
    rows = []
    for total in document["totals"]:
        stages = [stage for stage in document["stages"] if stage["side"] == total["name"]]
        for name, kind, figures in (
            (total["name"], "total", total),
            *((f"– {stage['stage']}", "", stage) for stage in stages),
        ):
            cells = "".join(f"<td>{'' if p in document['resolved'] else '~'}{figures[p]:.2f}</td>" for p in names)
            share = f"{figures['share']:.1%}" if "share" in figures else ""
            rows.append(
                f"<tr class='{kind}'><th>{html.escape(name)}</th>{cells}"
                f"<td>{figures['mean']:.2f}</td><td>{share}</td></tr>"
            )
    note = "" if len(document["resolved"]) == len(names) else "<p class=small>~: so few runs cannot show it.</p>"
    return _table(["ms", *names, "mean", "share"], rows) + note


def _about(document: Mapping[str, Any]) -> str:
    settings, bundle = document["settings"], document["bundle"]
    photos = ", ".join(
        f"{p['name']} {p['width']}×{p['height']} ({p['stream_bytes']} bytes)" for p in document["photos"]
    )
    lines = [
        f"Photos: {photos}. Rate {settings['rate']}.",
        f"Backend: {settings['backend']} ({settings['reason']}); entropy path: {settings['entropy_backend']};"
        f" {settings['threads']} threads, Numba {settings['numba_threads']}.",
        "Sensors: " + "; ".join(document["sensors"]["sentences"]) + ".",
        "Environment: " + (", ".join(f"{k}={v}" for k, v in settings["environment"].items()) or "nothing set") + ".",
        "Software: " + ", ".join(f"{name} {version}" for name, version in document["software"].items()) + ".",
        f"Bundle: manifest {bundle['manifest_sha256'][:16]}, entropy path {bundle['identity'][:8]} ({bundle['mode']}).",
    ]
    return "<h2>How</h2>" + "".join(f"<p class=small>{html.escape(text)}</p>" for text in lines)


def _table(heading: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heading)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
