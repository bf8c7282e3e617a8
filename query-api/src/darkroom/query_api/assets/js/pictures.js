// The pictures of a job with what was found in them.

import { PREFIX } from "./api.js";
import { h, svg } from "./dom.js";
import { percent } from "./format.js";

const INKS = 8;
const BARS_MAX = 10;

function box(input, detection, unit, index) {
  const [x, y, width, height] = detection.box;
  const text = `${detection.label} ${percent(detection.score)}`;
  const size = 15 * unit;
  const plateWidth = (text.length * 0.58 + 0.8) * size;
  const plateX = Math.max(0, Math.min(x, input.width_px - plateWidth)); // inside the picture, so that it can be read
  const plateY = y >= size * 1.5 ? y - size * 1.5 : y;
  return svg("g", { class: `box ink${detection.class_index % INKS}`, "data-index": index },
    svg("title", null, text),
    svg("rect", { class: "edge", x, y, width, height }),
    svg("rect", { class: "plate", x: plateX, y: plateY, width: plateWidth, height: size * 1.5, rx: size * 0.2 }),
    svg("text", { x: plateX + size * 0.4, y: plateY + size * 1.07, "font-size": size }, text));
}

function overlay(input, detections) {
  // Text keeps its size on the screen, however large the picture is; about 340 px are its width there.
  const unit = Math.max(input.width_px / 340, input.height_px / 420);
  return svg("svg", {
    viewBox: `0 0 ${input.width_px} ${input.height_px}`, "aria-hidden": "true", focusable: "false",
  }, [...detections].reverse().map((d) => box(input, d, unit, detections.indexOf(d))));
}

function bars(classes) {
  return h("ol", { class: "bars" }, classes.slice(0, BARS_MAX).map((c) => {
    const fill = h("div", { class: "fill" });
    fill.style.width = `${Math.max(0.5, c.score * 100)}%`;
    return h("li", null, h("span", { class: "label", title: c.label }, c.label),
      h("span", { class: "score" }, percent(c.score)), h("div", { class: "track" }, fill));
  }));
}

function found(detections) {
  if (!detections.length) return h("p", { class: "muted" }, "nothing found at this score");
  return h("ul", { class: "found" }, detections.map((d) =>
    h("li", { class: `ink${d.class_index % INKS}` }, `${d.label} ${percent(d.score)}`)));
}

function below(result, threshold, status) {
  if (!result) {
    return h("p", { class: "muted" }, status === "queued" || status === "running" ? "developing…" : "no result");
  }
  if (result.error) {
    return h("div", { class: "notice bad" }, h("h3", null, result.error.title), h("p", null, result.error.detail));
  }
  if (result.kind === "detection") return found(result.detections.filter((d) => d.score >= threshold));
  return bars(result.classes.filter((c) => c.score >= threshold));
}

const images = new Map(); // by address: an image that is already there is moved, not loaded again

function image(url, input, alt) {
  const known = images.get(url) ?? h("img", {
    src: url, width: input.width_px, height: input.height_px, loading: "lazy",
  });
  known.alt = alt;
  images.set(url, known);
  return known;
}

export function figure(job, index, threshold) {
  const input = job.inputs[index];
  const result = (job.results ?? []).find((r) => r.input === index);
  const url = `${PREFIX}/jobs/${encodeURIComponent(job.id)}/inputs/${index}`;
  const shown = result?.kind === "detection" ? result.detections.filter((d) => d.score >= threshold) : [];
  return h("figure", { class: result || !["queued", "running"].includes(job.status) ? "" : "waiting" },
    h("div", { class: "frame" }, h("div", { class: "sheet" },
      image(url, input, describe(result, shown, index)),
      shown.length ? overlay(input, shown) : null)),
    h("figcaption", null,
      h("div", { class: "caption" }, h("span", null, `#${index} · ${input.width_px} × ${input.height_px}`),
        result && !result.error ? h("a", { href: `${url}/annotated?min_score=${threshold}` }, "annotated") : null),
      below(result, threshold, job.status)));
}

function describe(result, shown, index) {
  if (shown.length) return `Input ${index} with ${shown.map((d) => d.label).join(", ")}`;
  if (result?.classes?.length) return `Input ${index}, most likely ${result.classes[0].label}`;
  return `Input ${index}`;
}
