"""How the page looks, by day and by night."""

from __future__ import annotations

STAGE_HUES = {
    "preprocess": ("#8c7a5b", "#c2ad88"),
    "analysis": ("#2563a8", "#6ea8e6"),
    "hyper": ("#2a8a8a", "#5cc4c4"),
    "context": ("#d9821b", "#f0a94e"),
    "coder": ("#c8102e", "#ff6b7d"),
    "synthesis": ("#7a4fb5", "#b594ec"),
    "head": ("#2f8a4e", "#6ccb8b"),
    "postprocess": ("#a0598a", "#dc9cc8"),
    "copies": ("#4a4f57", "#cfd4da"),
    "between": ("#b4bac2", "#6d747d"),
}
"""By stage, its colour by day and by night. Steps of the context chain share one."""

OTHER = "between"


def hue(stage: str) -> str:
    """The key of a stage's colour."""
    base = stage.partition(" ")[0]
    return base if base in STAGE_HUES else OTHER


def _variables(night: bool) -> str:
    return "".join(f"--{name}:{pair[night]};" for name, pair in STAGE_HUES.items())


STYLE = (
    f"""
:root {{ color-scheme: light dark; --ink:#1b1f24; --soft:#4a525c; --faint:#78818b; --rule:#e4e7eb; --back:#fff;
  --card:#f6f7f9; --mark:#fff3d6; --markline:#d9a21b; --less:#1d7a3e; --more:#a2241f; {_variables(False)} }}
@media (prefers-color-scheme: dark) {{ :root {{ --ink:#e8eaed; --soft:#b3bac2; --faint:#8b939c; --rule:#31363d;
  --back:#14171a; --card:#1d2126; --mark:#3a3011; --markline:#d9a21b; --less:#6fd08f; --more:#ff8f88;
  {_variables(True)} }} }}
"""
    """
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: var(--ink); background: var(--back);
  max-width: 1120px; margin: 28px auto; padding: 0 20px }
h1 { font-size: 25px; margin: 0 0 4px } h2 { font-size: 19px; margin: 34px 0 4px } h3 { font-size: 14px;
  margin: 14px 0 2px }
p { max-width: 860px; margin: 4px 0 8px } .lead { font-size: 16.5px } .small { color: var(--soft); font-size: 13px }
.answer { background: var(--mark); border-left: 4px solid var(--markline); padding: 8px 14px; max-width: 860px;
  margin: 10px 0 }
.answer b { font-size: 15.5px } .answer p { margin: 4px 0 }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin: 14px 0 }
.card { background: var(--card); border-radius: 6px; padding: 10px 16px; min-width: 130px }
.card b { display: block; font-size: 23px; font-variant-numeric: tabular-nums } .card span { color: var(--soft);
  font-size: 13px }
svg { width: 100%; height: auto; display: block; margin: 4px 0 }
  svg text { font: 12px system-ui, "DejaVu Sans", sans-serif;
  fill: var(--soft) } svg .strong { fill: var(--ink); font-weight: 600 } svg .inside { fill: #fff; font-weight: 600;
  font-size: 11.5px } svg .grid { stroke: var(--rule) } svg .axis { stroke: var(--faint) }
  svg .end { text-anchor: end }
svg .middle { text-anchor: middle } svg .kept { fill: var(--card) } svg .line { fill: none; stroke-width: 2 }
svg .dashed { stroke-dasharray: 5 4 } svg .beside { opacity: 0.35 } svg .critical { stroke: var(--ink);
  stroke-width: 1.2 }
.legend span { white-space: nowrap; margin-right: 14px; font-size: 13px; color: var(--soft) }
.legend i { display: inline-block; width: 11px; height: 11px; margin-right: 5px; vertical-align: -1px }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: 3px 14px 3px 0; text-align: right; border-bottom: 1px solid var(--rule); font-weight: 400 }
th:first-child, td:first-child { text-align: left } thead th { color: var(--soft) }
  tr.total th, tr.total td { font-weight: 650 }
details { margin: 22px 0 } summary { font-size: 17px; font-weight: 650; cursor: pointer }
.two { display: grid; grid-template-columns: 1fr 1fr; gap: 8px 28px }
  @media (max-width: 760px) { .two { display: block } }
@media (prefers-color-scheme: dark) { svg .inside { fill: #14171a } }
"""
)
