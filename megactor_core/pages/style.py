"""The style of the pages: light or dark as the reader's system is, readable from 420 pixels of width on."""

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark;
  --paper: #ffffff; --ink: #1d2127; --soft: #626b76; --line: #dfe3e8; --panel: #f6f7f9; --link: #1a5fa8;
  --real: #2467ad; --made: #c8561b; --third: #5c8a2f; --good: #1c7a41; --bad: #b3261e; --quoted: #f3eede; }
@media (prefers-color-scheme: dark) { :root {
  --paper: #16191d; --ink: #e4e7eb; --soft: #98a2ae; --line: #343a42; --panel: #1e2227; --link: #7db5ef;
  --real: #6fb0f0; --made: #f0965a; --third: #9ccb6c; --good: #6cc58d; --bad: #f28b82; --quoted: #2b281d; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 1320px; margin: 0 auto; padding: 24px 28px 60px; }
h1 { font-size: 26px; line-height: 1.25; margin: 0 0 10px; overflow-wrap: anywhere; }
h2 { font-size: 20px; margin: 40px 0 10px; padding-top: 12px; border-top: 1px solid var(--line); }
h3 { font-size: 16px; margin: 26px 0 8px; overflow-wrap: anywhere; }
h4 { font-size: 15px; margin: 0 0 8px; overflow-wrap: anywhere; }
p, ul { margin: 8px 0; max-width: 100ch; }
ul { padding-left: 22px; }
li, dd { overflow-wrap: anywhere; }
a { color: var(--link); }
code { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: 13px; }
nav { display: flex; flex-wrap: wrap; gap: 4px 18px; margin-top: 18px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 3px 16px; margin: 8px 0; }
dt { color: var(--soft); } dd { margin: 0; }
.note { color: var(--soft); font-size: 13.5px; }
.warn { border-left: 3px solid var(--made); background: var(--panel); padding: 6px 12px; }
.scroll { overflow-x: auto; margin: 10px 0; }
table { border-collapse: collapse; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: 5px 12px 5px 0;
  border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td.num, th.num { text-align: right; padding-left: 12px; font-variant-numeric: tabular-nums;
  white-space: nowrap; }
td small { color: var(--soft); display: block; font-size: 12.5px; }
tr:has(.quoted) td { background: var(--quoted); }
.mark { border: 1px solid var(--line); border-radius: 9px; padding: 0 8px; font-size: 12.5px;
  white-space: nowrap; }
.good { color: var(--good); } .bad { color: var(--bad); }
.clip { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: 14px 16px;
  margin: 14px 0; }
.also { display: flex; flex-wrap: wrap; gap: 0 18px; margin-bottom: 10px; color: var(--soft);
  font-size: 13px; }
.strip { display: grid; grid-template-columns: minmax(90px, 1fr) minmax(0, 3fr); gap: 4px 14px;
  max-width: 1120px; }
.strip img { display: block; width: 100%; height: auto; border-radius: 3px; }
.strip figure { margin: 0; } figcaption { color: var(--soft); font-size: 13px; }
.times { display: flex; } .times span { flex: 1; text-align: center; color: var(--soft); font-size: 12.5px; }
.rows { max-width: 900px; } .rows figure { margin: 0 0 4px; }
.rows img { display: block; width: 100%; height: auto; border-radius: 3px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); gap: 12px 18px;
  margin-top: 12px; }
.charts figure { margin: 0; } .charts figcaption { color: var(--ink); }
.small { grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); }
svg { display: block; width: 100%; height: auto; } td svg { width: 200px; }
svg text { fill: var(--soft); font-size: 11px; font-family: inherit; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg polyline { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
svg .real { stroke: var(--real); } svg .made { stroke: var(--made); }
svg polyline.real { stroke-width: 3.4; opacity: .6; } svg .third { stroke: var(--third); }
svg .faint { stroke: var(--soft); stroke-width: 1; opacity: .45; }
svg .ideal { stroke: var(--soft); stroke-width: 1; stroke-dasharray: 4 4; }
svg circle { stroke: none; fill: var(--made); } svg circle.real { fill: var(--real); }
svg rect { fill: var(--real); } svg rect.past { fill: var(--made); } svg rect.rest { fill: var(--line); }
svg .limit { stroke: var(--ink); stroke-width: 1.4; stroke-dasharray: 5 3; }
td svg { max-width: 200px; min-width: 90px; }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); gap: 14px 16px;
  margin: 10px 0; }
.sheet figure { margin: 0; min-width: 0; }
.sheet img { display: block; max-width: 100%; height: auto; border-radius: 3px; }
.sheet figcaption { margin-top: 4px; overflow-wrap: anywhere; }
.sheet figcaption b { color: var(--ink); font-weight: 600; display: block; }
.nothing { background: var(--panel); border: 1px dashed var(--line); border-radius: 3px; padding: 12px;
  font-size: 13px; color: var(--soft); overflow-wrap: anywhere; }
.key { white-space: nowrap; margin-left: 10px; font-size: 12.5px; color: var(--soft); }
.key::before { content: ""; display: inline-block; width: 16px; height: 3px; margin-right: 5px;
  vertical-align: middle; background: var(--real); }
.key.made::before { background: var(--made); } .key.third::before { background: var(--third); }
.key.faint::before { background: var(--soft); opacity: .5; } 
.key.ideal::before { height: 0; background: none; border-top: 2px dashed var(--soft); }
@media (max-width: 600px) {
  main { padding: 16px 14px 40px; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: 8px; }
  .charts { grid-template-columns: 1fr; } }
""".lstrip()
