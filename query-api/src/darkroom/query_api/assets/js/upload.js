import { Problem, command, newKey, read } from "./api.js";
import { Chosen, PICTURES_MAX, filesOfDrop } from "./chosen.js";
import { $, h, problemNotice, show } from "./dom.js";

const AT_ONCE = 3;
const REFUSED_LISTED_MAX = 5;
const models = new Map(); // "name@version" -> version of the catalogue
let asked = null; // the content that was last asked for, and its key: asked again, it is the same job
const chosen = new Chosen($("chosen"), (items) => { $("submit").disabled = !items.length || !$("model").value; });

function add(files) {
  const left = chosen.add(files);
  $("progress").textContent = left
    ? `${left} left out: only pictures, and at most ${PICTURES_MAX} in one job.` : "";
}

function describe() {
  const model = models.get($("model").value);
  const detects = model?.kind === "detection";
  $("field-top_k").hidden = !model || detects;
  $("field-max_detections").hidden = !detects;
  $("min_score").value = detects ? 0.25 : 0;
  shownScore();
  $("model-about").textContent = model
    ? `${model.kind} · ${model.runtime} · ${model.labels ? `${model.labels.length} labels` : "labels unknown"}` : "";
  $("submit").disabled = !chosen.items.length || !model;
}

function shownScore() {
  $("min_score_shown").textContent = Number($("min_score").value).toFixed(2);
}

async function loadModels() {
  const { items } = await read("/models");
  const options = [];
  for (const item of items) {
    for (const version of [...item.versions].reverse().filter((v) => v.status === "active")) {
      const name = `${item.name}@${version.version}`;
      models.set(name, version);
      options.push(h("option", { value: name }, name));
    }
  }
  show($("model"), options.length ? options : h("option", { value: "" }, "no model is registered yet"));
  const wanted = new URLSearchParams(location.search).get("model");
  if (wanted && models.has(wanted)) $("model").value = wanted;
  describe();
}

async function loadSamples() {
  const answer = await fetch("/samples");
  if (!answer.ok) return;
  const { items } = await answer.json();
  $("samples-box").hidden = !items.length;
  show($("samples"), items.map((sample) => h("li", null, h("button", {
    type: "button", "aria-label": `Add the sample ${sample.name}`, onclick: () => addSample(sample),
  }, h("img", { src: sample.url, alt: "", loading: "lazy" }), h("span", { class: "name" }, sample.name)))));
}

async function addSample(sample) {
  const blob = await (await fetch(sample.url)).blob();
  add([new File([blob], sample.name, { type: blob.type })]);
}

function parameters() {
  const model = models.get($("model").value);
  const given = { min_score: Number($("min_score").value) };
  if (model.kind === "detection") given.max_detections = Number($("max_detections").value);
  else given.top_k = Number($("top_k").value);
  return given;
}

function labels() {
  const pairs = $("labels").value.split(",").map((p) => p.trim()).filter(Boolean);
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf(":");
    if (at < 1) throw new Problem(422, { title: "A label is not key:value", detail: pair });
    return [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
  }));
}

async function upload(item) {
  const form = new FormData();
  form.append("file", item.file);
  try {
    item.digest = (await command("POST", "/media", form)).digest;
    item.state = "done";
    item.why = "";
  } catch (problem) {
    if (!problem.status || problem.status >= 500) throw problem;
    item.state = "bad";
    item.why = problem.title;
  }
}

async function uploadAll() {
  const waiting = chosen.items.filter((i) => !i.digest);
  const total = waiting.length;
  let done = 0;
  const work = async () => {
    for (let item = waiting.shift(); item; item = waiting.shift()) {
      await upload(item);
      $("progress").textContent = `${++done} of ${total} pictures uploaded`;
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
  chosen.draw();
  const refused = chosen.items.filter((i) => !i.digest);
  if (refused.length) {
    throw new Problem(422, {
      title: "Some pictures cannot be used",
      detail: "They are marked below. Leave them out, or choose others.",
      errors: refused.slice(0, REFUSED_LISTED_MAX).map((i) => ({ pointer: i.file.name, detail: i.why })),
    });
  }
}

async function submit(event) {
  event.preventDefault();
  show($("problem"));
  $("submit").disabled = true;
  try {
    const body = { model: $("model").value, parameters: parameters(), labels: labels() };
    await uploadAll();
    $("progress").textContent = "Asking for the job…";
    body.inputs = chosen.items.map((i) => ({ media: i.digest }));
    const content = JSON.stringify(body);
    if (asked?.content !== content) asked = { content, key: newKey() };
    const job = await command("POST", "/jobs", body, asked.key);
    asked = null;
    location.assign(`/jobs/${encodeURIComponent(job.id)}?after=${encodeURIComponent(job.position)}`);
  } catch (problem) {
    $("progress").textContent = "";
    show($("problem"), problemNotice(problem));
    $("problem").scrollIntoView({ block: "nearest" });
    $("submit").disabled = false;
  }
}

for (const id of ["files", "folder"]) {
  $(id).addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = "";
  });
}
for (const name of ["dragenter", "dragover"]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
}
$("drop").addEventListener("dragleave", () => $("drop").classList.remove("over"));
$("drop").addEventListener("drop", async (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  add(await filesOfDrop(event.dataTransfer));
});
document.addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (files.length) add(files);
});
$("model").addEventListener("change", describe);
$("min_score").addEventListener("input", shownScore);
$("form").addEventListener("submit", submit);
$("submit").disabled = true;
shownScore();
loadSamples().catch(() => {});
loadModels().catch((problem) => {
  show($("model"), h("option", { value: "" }, "–"));
  show($("problem"), problemNotice(problem, "The models cannot be read"));
});
