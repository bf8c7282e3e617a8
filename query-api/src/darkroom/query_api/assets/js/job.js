import { PREFIX, command, read } from "./api.js";
import { $, badge, h, problemNotice, show } from "./dom.js";
import { day, duration, shortDigest, shortType } from "./format.js";
import { figure } from "./pictures.js";
import { Timeline } from "./timeline.js";

const PATIENCE_TRIES = 5; // a job may be younger than the read model
const RETRY_MS = 2000;
const QUIET_MS = 2000; // a settled job's page listens this long for what else stands in the log, then hangs up
const TERMINAL = ["succeeded", "failed", "cancelled"];
const opened = Date.now();
const path = `/jobs/${encodeURIComponent(decodeURIComponent(location.pathname.split("/")[2]))}`;
const timeline = new Timeline($("timeline"));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
let job = null;
let progress = null;
let reading = false;
let wanted = null; // a position that the next reading must have passed
let source = null; // open only while it is of use: a browser allows six connections to one host
let settling = 0;
let lastOffset = -1; // of the rows shown
let lastVersion = 0; // of the job, by the events shown
let deleted = false;

function fact(name, ...value) {
  return h("div", null, h("dt", null, name), h("dd", null, ...value));
}

function drawFacts() {
  const timing = job.timing;
  show($("facts"),
    fact("Model digest", h("code", { title: job.model.digest }, shortDigest(job.model.digest))),
    fact("Run", job.run ? `${job.run}${job.attempt > 1 ? `, attempt ${job.attempt}` : ""}` : "none yet"),
    fact("Waited", duration(timing.queued_ms)),
    fact("Ran", duration(timing.running_ms)),
    fact("Decoding", duration(timing.decode_ms)),
    fact("Inference", duration(timing.inference_ms)),
    fact("Created", h("time", { datetime: job.created_at }, day(job.created_at))));
  show($("labels"), Object.entries(job.labels).map(([k, v]) =>
    h("a", { class: "tag", href: `/jobs?label=${encodeURIComponent(`${k}:${v}`)}`, title: `${k}:${v}` }, `${k}:${v}`)));
}

function drawPictures() {
  const threshold = Number($("threshold").value);
  $("threshold-shown").textContent = threshold.toFixed(2);
  $("threshold-box").hidden = !(job.results ?? []).some((r) => r.kind === "detection");
  show($("pictures"), job.inputs.map((_, index) => figure(job, index, threshold)));
}

function draw() {
  document.title = `${job.status} · ${job.model.name} · Darkroom`;
  $("job").hidden = false;
  $("job-id").textContent = job.id;
  $("job-model").textContent = `${job.model.name}@${job.model.version}`;
  show($("job-status"), badge(job.status));
  show($("failure"), job.error ? problemNotice(job.error, "The run failed") : null);
  const active = ["queued", "running"].includes(job.status);
  $("cancel").disabled = !active;
  $("again").disabled = active;
  $("again").textContent = job.run ? "Run again" : "Run";
  $("delete").disabled = false;
  $("progress-box").hidden = job.status !== "running" || !progress;
  if (progress) {
    $("progress").max = progress.total;
    $("progress").value = progress.done;
    $("progress-text").textContent = `${progress.done} of ${progress.total}`;
  }
  drawFacts();
  drawPictures();
}

async function drawRuns() {
  $("runs-box").hidden = job.run < 2;
  if (job.run < 2) return;
  const { items } = await read(`${path}/runs`);
  show($("runs"), items.reverse().map((run) => h("tr", null,
    h("td", null, String(run.run)), h("td", null, badge(run.status)),
    h("td", null, `${run.model.name}@${run.model.version}`),
    h("td", null, h("code", null, Object.entries(run.parameters).map(([k, v]) => `${k}=${v}`).join(" ") || "–")),
    h("td", null, run.attempts.map((a) => `${a.attempt}: ${a.outcome}`).join(", ") || "–"))));
}

function drawGone(problem) {
  $("job").hidden = true;
  const when = problem.deleted_at ? ` at ${day(problem.deleted_at)}` : "";
  show($("problem"), problem.status === 410
    ? h("div", { class: "notice" }, h("h2", null, "This job was deleted"),
      h("p", null, `It was deleted${when}. Its pictures and results are gone; the log keeps that it was.`))
    : problemNotice(problem));
}

// Reads the job once it has passed `position`, one reading at a time.
async function update(position) {
  wanted = position ?? wanted;
  if (reading) return;
  reading = true;
  let after = null;
  let lost = false;
  try {
    do {
      after = wanted;
      wanted = null;
      job = await read(path + (after ? `?after=${encodeURIComponent(after)}&wait=5` : ""));
      show($("problem"));
      draw();
    } while (wanted);
    await drawRuns();
  } catch (problem) {
    lost = problem.status === 503 || problem.status === 0;
    if (lost) wanted ??= after;
    if (problem.status === 410 || problem.status === 404 || !job) drawGone(problem);
    else show($("problem"), problemNotice(problem));
  } finally {
    reading = false;
    if (wanted && lost) setTimeout(() => wanted && update(), RETRY_MS);
    else if (wanted) update();
    settle();
  }
}

async function first() {
  const after = new URLSearchParams(location.search).get("after");
  for (let tried = 1; ; tried++) {
    try {
      job = await read(path + (after ? `?after=${encodeURIComponent(after)}&wait=10` : ""));
      draw();
      await drawRuns();
      return true;
    } catch (problem) {
      if (problem.status === 410) {
        drawGone(problem);
        return true;
      }
      if (problem.status && ![404, 503].includes(problem.status) || tried === PATIENCE_TRIES) {
        drawGone(problem);
        return false;
      }
      await pause(300);
    }
  }
}

function hangUp() {
  source?.close();
  source = null;
}

// Nothing more is to be expected: the page shows all of a job that has come to its end.
function settled() {
  return deleted
    || job && TERMINAL.includes(job.status) && lastVersion >= job.version && !reading && !wanted;
}

function settle() {
  clearTimeout(settling);
  settling = setTimeout(() => {
    if (!source || !settled()) return;
    hangUp();
    $("live").hidden = true;
  }, QUIET_MS);
}

// A stream opened anew begins at the first event; rows that stand already are passed over.
function follow() {
  if (source || deleted || document.hidden) return;
  source = new EventSource(`${PREFIX}${path}/events?include=void`);
  $("history").hidden = false;
  $("live").hidden = false;
  source.onopen = () => { $("live").className = "live"; $("live").textContent = "live"; };
  source.onerror = () => {
    $("live").className = "live off";
    $("live").textContent = "connecting…";
    if (source?.readyState !== EventSource.CLOSED) return; // it connects again by itself
    hangUp();
    setTimeout(follow, RETRY_MS);
  };
  source.onmessage = (message) => {
    const event = JSON.parse(message.data);
    settle();
    if (event.offset <= lastOffset) return;
    lastOffset = event.offset;
    $("partition").textContent = String(event.partition);
    timeline.add(event, new Date(event.time).getTime() > opened);
    if (event.void) return;
    const type = shortType(event.type);
    if (type === "execution-progressed" && event.data) progress = { done: event.data.done, total: event.data.total };
    if (type === "execution-requested" || type === "execution-started") progress = null;
    if (event.streamversion > lastVersion) lastVersion = event.streamversion;
    if (!job || event.streamversion > job.version) update(event.position);
    if (type === "deleted") deleted = true;
  };
}

async function act(button, method, suffix, body) {
  button.disabled = true;
  show($("problem"));
  try {
    const done = await command(method, path + suffix, body);
    follow();
    await update(done.position);
  } catch (problem) {
    if (job) draw();
    show($("problem"), problemNotice(problem));
  }
}

$("cancel").addEventListener("click", () => act($("cancel"), "POST", "/cancel"));
$("again").addEventListener("click", () => act($("again"), "POST", "/runs", {}));
$("delete").addEventListener("click", () => $("confirm").showModal());
$("confirm").addEventListener("close", () => {
  if ($("confirm").returnValue === "yes") act($("delete"), "DELETE", "");
  $("confirm").returnValue = "";
});
$("threshold").addEventListener("input", drawPictures);
$("copy-id").addEventListener("click", async () => {
  await navigator.clipboard?.writeText(job.id);
  $("copy-id").textContent = "copied";
});
if (await first()) {
  follow();
  document.addEventListener("visibilitychange", () => (document.hidden ? hangUp() : follow()));
}
