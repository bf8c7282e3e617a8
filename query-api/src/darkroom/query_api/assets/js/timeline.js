// The rows of the event timeline.

import { badge, h } from "./dom.js";
import { clock, day, duration, shortType } from "./format.js";

function note(event) {
  const data = event.data;
  if (!data) return ""; // the job was deleted, or the record cannot be read
  switch (shortType(event.type)) {
    case "created": return data.execute ? `asks for run 1 with ${modelOf(data)}` : "not executed yet";
    case "execution-requested": return `run ${data.run} with ${modelOf(data)}`;
    case "execution-started": return `run ${data.run}, attempt ${data.attempt} by ${data.executor}`;
    case "execution-progressed": return `${data.done} of ${data.total} inputs`;
    case "execution-failed": return `${data.error?.title}: ${data.error?.detail}`;
    case "attempt-expired": return `attempt ${data.attempt}: ${data.reason?.title}`;
    default: return "";
  }
}

function modelOf(data) {
  return `${data.spec?.model?.name}@${data.spec?.model?.version}`;
}

export class Timeline {
  constructor(body) {
    this.body = body;
    this.last = null;
  }

  // `fresh`: it happened while the page was open.
  add(event, fresh) {
    const time = event.time ? new Date(event.time).getTime() : null;
    const delta = this.last !== null && time !== null ? time - this.last : null;
    if (time !== null) this.last = time;
    const raw = h("pre", null, "");
    const details = h("details", {
      ontoggle: () => { raw.textContent = details.open ? JSON.stringify(event, null, 2) : ""; },
    }, h("summary", null, "JSON"), raw);
    this.body.append(h("tr", {
      class: `${event.void ? "void" : ""}${fresh ? " new" : ""}`, "data-position": event.position,
    },
    h("td", { class: "number" }, h("code", { title: `partition ${event.partition}` }, String(event.offset))),
    h("td", null, h("span", { class: "type", title: event.type }, shortType(event.type)),
      event.void ? h("span", { class: "void-mark", title: "It lost a race: it stays in the log and changes nothing" },
        "void") : null,
      h("span", { class: "note" }, note(event))),
    h("td", null, event.void ? "–" : badge(event.status)),
    h("td", null, event.time ? h("time", { datetime: event.time, title: day(event.time) }, clock(event.time)) : "–"),
    h("td", { class: "number" }, delta === null ? "" : `+${duration(Math.max(0, delta))}`),
    h("td", null, details)));
  }
}
