// Elements made of text nodes only: nothing that came from a user can become HTML.

export const $ = (id) => document.getElementById(id);

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "class") element.setAttribute("class", value);
    else if (name in element && typeof value === "boolean") element[name] = value;
    else element.setAttribute(name, String(value));
  }
  element.append(...children.flat().filter((c) => c !== null && c !== undefined && c !== false));
  return element;
}

export function h(tag, properties, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

export function show(element, ...children) {
  element.replaceChildren(...children.flat().filter(Boolean));
}

export function badge(status) {
  const known = /^[a-z]+$/.test(status) ? status : "";
  return h("span", { class: `badge ${known}` }, status);
}

export function problemNotice(problem, title) {
  const wrong = problem.errors ?? [];
  return h("div", { class: "notice bad" },
    h("h2", null, title ?? problem.title ?? "Something went wrong"),
    title && problem.title ? h("p", null, h("b", null, problem.title)) : null,
    problem.detail ? h("p", null, problem.detail) : null,
    wrong.length ? h("ul", null, wrong.map((e) => h("li", null, h("code", null, e.pointer), " ", e.detail))) : null,
    problem.type ? h("p", { class: "muted" }, h("code", null, problem.type)) : null);
}
