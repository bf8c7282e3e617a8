import { read } from "./api.js";
import { $, badge, h, problemNotice, show } from "./dom.js";
import { ago, day, duration } from "./format.js";

const STATUSES = ["created", "queued", "running", "succeeded", "failed", "cancelled"];
const KEPT = ["status", "model", "label", "id", "created_from", "created_to"];
const REFRESH_MS = 4000;
const here = new URLSearchParams(location.search);

function address(change) {
  const query = new URLSearchParams();
  for (const name of KEPT) for (const value of here.getAll(name)) if (value) query.append(name, value);
  for (const [name, value] of Object.entries(change)) {
    query.delete(name);
    if (value) query.set(name, value);
  }
  return `/jobs${query.size ? `?${query}` : ""}`;
}

function row(job) {
  const timing = job.timing;
  const took = timing.queued_ms !== undefined && timing.running_ms !== undefined && timing.running_ms !== null
    ? timing.queued_ms + timing.running_ms : null;
  return h("tr", null,
    h("td", null, badge(job.status)),
    h("td", null, h("a", { href: `/jobs/${encodeURIComponent(job.id)}` }, h("code", null, job.id)),
      job.error ? h("span", { class: "why-row" }, job.error.title) : null),
    h("td", null, `${job.model.name}@${job.model.version}`),
    h("td", { class: "number" }, String(job.inputs.length)),
    h("td", { class: "number" }, duration(took)),
    h("td", null, h("time", { datetime: job.created_at, title: day(job.created_at) }, ago(job.created_at))),
    h("td", null, Object.entries(job.labels).map(([k, v]) =>
      h("a", { class: "tag", href: address({ label: `${k}:${v}` }), title: `${k}:${v}` }, `${k}:${v}`))));
}

async function list() {
  const query = new URLSearchParams([...here].filter(([, value]) => value));
  const { items, next } = await read(`/jobs?${query}`);
  show($("rows"), items.map(row));
  $("empty").hidden = items.length > 0;
  $("empty").textContent = [...here].length ? "No job is like that." : "No job yet. Develop some pictures first.";
  const onward = address({}) + (address({}).includes("?") ? "&" : "?") + `cursor=${encodeURIComponent(next ?? "")}`;
  show($("paging"),
    here.get("cursor") ? h("a", { href: address({}) }, "← Newest") : h("span"),
    next ? h("a", { href: onward, rel: "next" }, "Older →") : null);
}

async function counts() {
  const { jobs } = await read("/stats");
  const current = here.getAll("status");
  const chip = (name, status, count) => h("a", {
    href: address({ status }), "aria-current": (status ? current.includes(status) : !current.length) ? "true" : null,
  }, name, h("b", null, count.toLocaleString()));
  show($("statuses"), chip("all", "", jobs.total), STATUSES.map((s) => chip(s, s, jobs.by_status[s] ?? 0)));
}

async function models() {
  const { items } = await read("/models");
  $("model").append(...items.map((m) => h("option", { value: m.name }, m.name)));
  $("model").value = here.get("model") ?? "";
}

async function refresh() {
  try {
    await Promise.all([list(), counts()]);
    show($("problem"));
  } catch (problem) {
    show($("problem"), problemNotice(problem));
  }
}

$("id").value = here.get("id") ?? "";
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  location.assign(address({ id: $("id").value.trim(), model: $("model").value }));
});
await refresh();
models().catch(() => {});
if (!here.get("cursor")) {
  setInterval(() => document.hidden || document.activeElement?.closest("#rows") || refresh(), REFRESH_MS);
}
