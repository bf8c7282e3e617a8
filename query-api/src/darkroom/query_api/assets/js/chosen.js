// The pictures that were chosen: from files, folders, drops and samples.

import { h, show } from "./dom.js";
import { bytes } from "./format.js";

export const PICTURES_MAX = 100;
const ENTRIES_MAX = 2000;
const NAMES = /\.(jpe?g|png|webp|gif|bmp)$/i;

export class Chosen {
  constructor(list, changed) {
    this.list = list;
    this.changed = changed;
    this.items = [];
  }

  // Returns how many were left out.
  add(files) {
    const pictures = files.filter((f) => f.type.startsWith("image/") || NAMES.test(f.name));
    const room = PICTURES_MAX - this.items.length;
    for (const file of pictures.slice(0, Math.max(0, room))) {
      this.items.push({ file, url: URL.createObjectURL(file), state: "", why: "", digest: null });
    }
    this.draw();
    return files.length - Math.min(pictures.length, Math.max(0, room));
  }

  remove(item) {
    URL.revokeObjectURL(item.url);
    this.items = this.items.filter((i) => i !== item);
    this.draw();
  }

  draw() {
    show(this.list, this.items.map((item) => h("li", { class: item.state },
      h("img", { src: item.url, alt: "" }),
      h("span", { class: "name", title: `${item.file.name}, ${bytes(item.file.size)}` }, item.file.name),
      item.why ? h("span", { class: "why" }, item.why) : null,
      h("button", {
        class: "remove", type: "button", "aria-label": `Leave out ${item.file.name}`, onclick: () => this.remove(item),
      }, "×"))));
    this.changed(this.items);
  }
}

// Files of a drop, folders walked through.
export async function filesOfDrop(transfer) {
  const entries = [...transfer.items].map((i) => i.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const files = [];
  const waiting = entries;
  for (let seen = 0; waiting.length && seen < ENTRIES_MAX; seen++) {
    const entry = waiting.shift();
    if (entry.isFile) {
      files.push(await new Promise((done, failed) => entry.file(done, failed)));
      continue;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, failed) => reader.readEntries(done, failed));
      if (!some.length) break;
      waiting.push(...some);
    }
  }
  return files;
}
