/** A qualification's report as one page of HTML that needs nothing else: no script, no other file. */
import { short } from "./regression.js";
import type { CheckFigure, QualificationReport, Row } from "./report.js";
import { escapeHtml, plotSvg } from "./svg.js";

/** All of the page's styles: whoever serves it can allow these and nothing else. */
export const STYLE = `
:root { color-scheme: light dark; --text: #1b1f24; --soft: #57606a; --back: #ffffff; --card: #f5f7f9; --rule: #d5dae0;
  --good: #116329; --bad: #b3261e; --base: #6b7785; --own: #1f6feb; }
@media (prefers-color-scheme: dark) { :root { --text: #e6eaef; --soft: #9aa5b1; --back: #12161b; --card: #1b2129; --rule: #333c47;
  --good: #57ab5a; --bad: #ff7b72; --base: #8b98a6; --own: #6cb6ff; } }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem; font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); }
h1 { font-size: 1.5rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 0; }
.verdict { font-weight: 700; } .PASSED { color: var(--good); } .FAILED, .ERROR { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .1rem 1rem; margin: 1rem 0; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 8px; padding: .8rem 1rem; margin: .8rem 0; }
section p { margin: .3rem 0; } .soft { color: var(--soft); } code { overflow-wrap: anywhere; }
header { display: flex; gap: 1rem; justify-content: space-between; align-items: baseline; }
table { border-collapse: collapse; margin: .5rem 0; width: 100%; } td, th { text-align: left; padding: .15rem .6rem .15rem 0; border-bottom: 1px solid var(--rule); }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }
svg { width: 100%; font: 11px system-ui, sans-serif; } svg text { fill: var(--soft); } svg .title { fill: var(--text); font-size: 12px; }
.axis { stroke: var(--rule); } .line0, .line1 { fill: none; stroke-width: 1.5; } .line0 { stroke: var(--base); } .line1 { stroke: var(--own); }
.dot0 { fill: var(--base); } .dot1 { fill: var(--own); } .bar { fill: var(--own); }
`;

function figureRow({ name, value, unit, limit = "" }: CheckFigure): string {
  const number = Number.isFinite(value) ? short(value) : "never";
  return `<tr><td>${escapeHtml(name)}</td><td class="number">${number}</td><td>${escapeHtml(unit)}</td><td class="soft">${escapeHtml(limit)}</td></tr>`;
}

function rowSection(row: Row): string {
  const { figures, plots } = row;
  const rows = figures.map(figureRow).join("");
  const table = figures.length === 0 ? "" : `<table><tr><th>figure</th><th></th><th></th><th>limit</th></tr>${rows}</table>`;
  const drawn = plots.length === 0 ? "" : `<div class="plots">${plots.map(plotSvg).join("")}</div>`;
  return `<section id="${escapeHtml(row.id)}">
<header><h2>${escapeHtml(row.name)}</h2><span class="verdict ${row.verdict}">${row.verdict}</span></header>
<p class="soft">${escapeHtml(row.proves)}</p>
<p>${escapeHtml(row.detail)}</p>
${table}${drawn}
<p class="soft">${row.seconds.toFixed(1)} s, seed ${row.seed}. Again: <code>${escapeHtml(row.reproduce)}</code></p>
</section>`;
}

export function reportPage(report: QualificationReport): string {
  const facts: readonly (readonly [string, string])[] = [
    ["level", report.isComplete ? report.level : `${report.level}, some checks only`],
    ["image", report.imageDigest],
    ["base", report.baseDigest],
    ["change", report.changeDigest],
    ["policy", report.policyDigest],
    ["seed", String(report.seed)],
    ["engine, suite", `${report.engine}, ${report.suite}`],
    ["Node", report.nodes.join(", ")],
    ["host", report.host],
    ["time", `${report.startedAt}, ${report.seconds.toFixed(0)} s`],
  ];
  const list = facts.map(([name, value]) => `<dt>${escapeHtml(name)}</dt><dd>${escapeHtml(value)}</dd>`).join("");
  const name = escapeHtml(report.name);
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Qualification of ${name}: ${report.verdict}</title><style>${STYLE}</style></head><body>
<h1>Qualification of ${name}: <span class="verdict ${report.verdict}">${report.verdict}</span></h1>
<dl>${list}</dl>
${report.rows.map(rowSection).join("\n")}
</body></html>
`;
}
