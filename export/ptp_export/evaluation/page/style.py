"""How the page looks."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light }
body { font: 15px/1.45 system-ui, "DejaVu Sans", sans-serif; color: #1b1f24; background: #fff;
       max-width: 1180px; margin: 28px auto; padding: 0 20px }
h1 { font-size: 25px; margin: 0 0 6px } h2 { font-size: 19px; margin: 30px 0 8px }
h3 { font-size: 15px; margin: 18px 0 6px }
.lead { max-width: 860px; margin: 0 0 10px }
.note { margin: 6px 0; padding: 6px 12px; background: #fff6e0; border-left: 4px solid #d9a21b; max-width: 860px }
.small { color: #4a525c; font-size: 13px; margin: 2px 0 }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(340px, 1fr)); gap: 14px 20px;
          align-items: end; margin-top: 18px }
summary { font-size: 19px; font-weight: 700; margin: 30px 0 8px; cursor: pointer }
h4 { font-size: 13.5px; margin: 0 0 2px }
figure { margin: 0 } svg { width: 100%; height: auto; display: block }
svg text { font: 12px system-ui, "DejaVu Sans", sans-serif; fill: #4a525c;
           paint-order: stroke; stroke: #fff; stroke-width: 3px }
svg .axis { fill: #1b1f24; font-size: 13px }
svg .name { font-size: 13px }
svg .grid { stroke: #e4e7eb } svg .level { stroke: #4a525c; stroke-dasharray: 5 4 }
.panels { display: grid; grid-template-columns: repeat(4, 1fr); gap: 10px } .panels img { width: 100%; display: block }
figcaption { font-size: 13px; color: #4a525c; margin-top: 4px }
.scroll { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
th, td { padding: 3px 12px 3px 0; text-align: right; border-bottom: 1px solid #eceff2 }
th:first-child { text-align: left }
.chip { display: inline-block; width: 11px; height: 11px; margin: 0 4px 0 12px; vertical-align: -1px }
thead th { border-bottom: 2px solid #c5ccd3 } small { color: #78818b } tr.ours { background: #fdf0f1 }
td.less { color: #1d7a3e } td.more { color: #a2241f } td.none { color: #78818b; max-width: 190px }
@media (max-width: 760px) { .panels { grid-template-columns: repeat(2, 1fr) } .charts { grid-template-columns: 1fr } }
"""
