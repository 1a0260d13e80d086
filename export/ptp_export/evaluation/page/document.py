"""The page: text, curves, pictures and tables as HTML without any reference to the outside."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from ptp_export.evaluation.evaluate import OURS, Evaluation, Harness
from ptp_export.evaluation.page.chart import Curve, CurvePoint, Level, chart
from ptp_export.evaluation.page.examples import Example, examples
from ptp_export.evaluation.page.style import STYLE
from ptp_export.evaluation.photo_list import EvaluationPhoto
from ptp_export.evaluation.tables import HEADINGS, delta_text, footnote

#: Ours first; then the rivals in their order.
_COLOURS = ("#c8102e", "#2563a8", "#3f8f5f", "#8a5fb0", "#b07d1e", "#5b6770")
#: A feature error of more than this is drawn on the border: it is worse than coding nothing.
_WORST_ERROR = 1.25


def page_of(result: Mapping[str, Any], harness: Harness, photos: Sequence[EvaluationPhoto], found: Evaluation) -> str:
    """The whole page.

    Args:
        result: as :func:`ptp_export.evaluation.document.document` gives it.
        harness: codes the examples once more.
        photos, found: what was evaluated.
    """
    return page_from(result, examples(harness, photos, found))


def page_from(result: Mapping[str, Any], pictures: Sequence[Example]) -> str:
    """The page of figures and finished examples."""
    title = html.escape(f"{result['title']} beside other codecs")
    body = [
        f"<h1>{title}</h1>",
        f"<p class=lead>{html.escape(_lead(result))}</p>",
        *(f"<p class=note>{html.escape(note)}</p>" for note in result["notes"]),
        _charts(result),
        "<h2>Rate at equal quality</h2>",
        _deltas(result),
        "<h2>Examples</h2>" if pictures else "",
        *(_example(example) for example in pictures),
        f"<details><summary>Every point</summary>{_points(result)}</details>",
        _classes(result),
        _about(result),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>\n"
    )


def _lead(result: Mapping[str, Any]) -> str:
    count, task = len(result["photos"]), {"seg": "masks", "det": "boxes", "cls": "classes"}[result["task"]]
    return (
        f"Every codec gets the same {count} photos ({result['photos_from']}); the same teacher network makes {task} of"
        " what comes out. Truth is the teacher's own answer on the uncompressed photo"
        + (" and the photos' labels" if result["teacher_metric"] is not None else "")
        + ". Bits are real bytes over the pixels that the codec was given. Bars are 95 % intervals over photos."
    )


def _charts(result: Mapping[str, Any]) -> str:
    names = result["names"]
    parts = []
    if result["teacher_metric"] is not None:
        level = Level(result["teacher_metric"], "teacher, uncompressed")
        parts.append(_figure(names["figures"][names["metric"]], _curves(result, names["metric"]), level))
    for name in names["figures"]:
        against_teacher = name not in result["teacher_figures"]
        if against_teacher and name in result["points"][0]["figures"]:
            parts.append(_figure(names["figures"][name], _curves(result, name)))
    mean = Level(1.0, "no better than the mean feature")
    parts.append(_figure("feature error (less is better)", _curves(result, "feature_error"), mean, _WORST_ERROR))
    return f"<div class=charts>{''.join(parts)}</div>"


def _figure(title: str, curves: Sequence[Curve], level: Level | None = None, top: float | None = None) -> str:
    drawn = [curve for curve in curves if curve.points]
    return f"<figure><h4>{html.escape(title)}</h4>{chart(title, drawn, level, top)}</figure>" if drawn else ""


def _curves(result: Mapping[str, Any], name: str) -> list[Curve]:
    codecs = dict.fromkeys(point["codec"] for point in result["points"])
    curves = []
    for number, codec in enumerate(codecs):
        points = []
        for point in result["points"]:
            estimate = _estimate(point, name)
            if point["codec"] == codec and estimate["value"] is not None:
                text = f"{codec} {point['rate']}: {point['bpp']:.3f} bpp, {estimate['value']:.3f}"
                points.append(CurvePoint(point["bpp"], estimate["value"], estimate["low"], estimate["high"], text))
        points.sort(key=lambda p: p.bpp)
        curves.append(Curve(_shown(codec), _COLOURS[number % len(_COLOURS)], points, codec == OURS))
    return curves


def _estimate(point: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    if name == "feature_error":
        low, high = point["intervals"]["feature_error"]
        return {"value": point["feature_error"], "low": low, "high": high}
    missing = {"value": None, "low": None, "high": None}
    estimate: Mapping[str, Any] = point["figures"].get(name, missing)
    return estimate


def _shown(codec: str) -> str:
    return "ours" if codec == OURS else codec


def _deltas(result: Mapping[str, Any]) -> str:
    if not result["bd_rate"]:
        return "<p>No rival was asked for.</p>"
    names = list(next(iter(result["bd_rate"].values())))
    rows = []
    for rival, figures in result["bd_rate"].items():
        cells = []
        for name in names:
            entry = figures[name]
            kind = "none" if entry["percent"] is None else "less" if entry["percent"] < 0 else "more"
            cells.append(f"<td class={kind}>{html.escape(delta_text(entry))}</td>")
        rows.append(f"<tr><th>{html.escape(rival)}</th>{''.join(cells)}</tr>")
    return (
        "<p>Bjøntegaard delta rate: how much more rate (+) or less (−) ours takes than the rival for an equal figure"
        f"{footnote(result)}.</p>"
        f"{_table(['ours against', *(HEADINGS[name] for name in names)], rows)}"
    )


def _points(result: Mapping[str, Any]) -> str:
    names = ["feature_error", *result["points"][0]["figures"]]
    rows = []
    for point in result["points"]:
        cells = [f"<td>{point['rate']}</td><td>{point['bpp']:.4f}</td>"]
        for name in names:
            value, low, high = (_estimate(point, name)[side] for side in ("value", "low", "high"))
            between = "" if low is None or high is None else f" <small>{low:.3f}–{high:.3f}</small>"
            cells.append("<td>–</td>" if value is None else f"<td>{value:.3f}{between}</td>")
        style = " class=ours" if point["codec"] == OURS else ""
        rows.append(f"<tr{style}><th>{html.escape(_shown(point['codec']))}</th>{''.join(cells)}</tr>")
    return _table(["codec", "rate", "bpp", *(HEADINGS[name] for name in names)], rows)


def _classes(result: Mapping[str, Any]) -> str:
    shown = {name: sides for name, sides in result["classes"].items() if sides["teacher"] or sides["labels"]}
    if not shown:
        return ""
    rows = [
        f"<tr><th>{html.escape(name.strip('_'))}</th><td>{sides['teacher']}</td><td>{sides['labels'] or '–'}</td></tr>"
        for name, sides in shown.items()
    ]
    return "<h2>Photos that show each class</h2>" + _table(["class", "by the teacher", "by labels"], rows)


def _about(result: Mapping[str, Any]) -> str:
    environment = result["environment"]
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items() if version)
    lines = [f"{name}: {settings}." for name, settings in result["codecs"].items()]
    lines += [
        f"Checkpoint {result['checkpoint_sha256'][:16]}. Intervals: {result['bootstrap']['resamples']} resamples of the"
        f" photos, seed {result['bootstrap']['seed']}.",
        f"{environment['system']}, {environment['cores']} cores, Python {environment['python']}; {packages}.",
    ]
    return "<h2>How</h2>" + "".join(f"<p class=small>{html.escape(line)}</p>" for line in lines)


def _example(example: Example) -> str:
    panels = "".join(
        f'<figure><img alt="" src="{panel.source}"><figcaption>{panel.caption}</figcaption></figure>'
        for panel in example.panels
    )
    legend = "".join(
        f'<span class=chip style="background:{colour}"></span>{html.escape(name)}' for name, colour in example.legend
    )
    return f"<h3>{html.escape(example.title)}<small>{legend}</small></h3><div class=panels>{panels}</div>"


def _table(heading: Sequence[str], rows: Sequence[str]) -> str:
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in heading)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
