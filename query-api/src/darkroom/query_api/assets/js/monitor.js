import { read } from "./api.js";
import { $, h, problemNotice, show } from "./dom.js";
import { ago, day, duration } from "./format.js";

const REFRESH_MS = 2000;

function projection(p) {
  const seen = p.partitions.map((m) => m.end_seen_at ?? "").sort();
  const events = p.partitions.reduce((sum, m) => sum + m.next, 0);
  return h("tr", null,
    h("td", null, h("b", null, p.read_model), p.building !== null
      ? h("span", { class: "tag" }, `generation ${p.building} is being built`) : null),
    h("td", { class: "number" }, String(p.generation)),
    h("td", { class: "number" }, events.toLocaleString()),
    h("td", { class: `number ${p.lag ? "lagging" : ""}` }, p.lag.toLocaleString()),
    h("td", { class: `number ${p.quarantined ? "quarantined" : ""}` }, p.quarantined.toLocaleString()),
    h("td", null, seen[0] ? h("time", { datetime: seen[0], title: day(seen[0]) }, ago(seen[0])) : "never"));
}

function model(m) {
  return h("tr", null, h("td", null, `${m.model}@${m.version}`),
    h("td", { class: "number" }, m.finished.toLocaleString()),
    h("td", { class: "number" }, (m.events["execution-failed"] ?? 0).toLocaleString()),
    ["queued", "running", "inference"].map((stage) => h("td", { class: "number" }, duration(m.mean_ms[stage]))));
}

async function refresh() {
  try {
    const [projections, stats] = await Promise.all([read("/projections"), read("/stats")]);
    show($("projections"), projections.items.map(projection));
    show($("models"), stats.models.length ? stats.models.map(model)
      : h("tr", null, h("td", { class: "empty", colspan: "6" }, "Nothing has run yet.")));
    show($("counts"), Object.entries(stats.jobs.by_status).map(([status, count]) =>
      h("div", null, h("dt", null, status), h("dd", null,
        h("a", { href: `/jobs?status=${encodeURIComponent(status)}` }, count.toLocaleString())))));
    show($("problem"));
  } catch (problem) {
    show($("problem"), problemNotice(problem));
  }
}

await refresh();
setInterval(() => document.hidden || refresh(), REFRESH_MS);
