// SPDX-License-Identifier: Apache-2.0
// Elements from values. Texts come from files that nobody trusts, so they only ever become text nodes and attributes.

function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  setProperties(node, properties);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return node;
}

function svg(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children.flat(Infinity));
  return node;
}

function setProperties(node, properties) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "class") node.className = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
}

function replaceChildren(node, ...children) {
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
}

// A colour of the style sheet, as it is in the light or dark scheme of now.
function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Tabs as the ARIA Authoring Practices describe them: one tab stop, arrows move.
function tabs(label, entries) {
  const buttons = entries.map((entry, index) =>
    el("button", { role: "tab", id: `tab-${entry.id}`, "aria-controls": `panel-${entry.id}`, onclick: () => show(index) }, entry.title));
  const panels = entries.map((entry) =>
    el("section", { role: "tabpanel", id: `panel-${entry.id}`, class: `panel ${entry.id}`, "aria-labelledby": `tab-${entry.id}` }));
  const filled = new Set();
  function show(index) {
    buttons.forEach((button, k) => {
      button.setAttribute("aria-selected", String(k === index));
      button.tabIndex = k === index ? 0 : -1;
      panels[k].hidden = k !== index;
    });
    if (!filled.has(index)) panels[index].append(...[entries[index].content()].flat());
    filled.add(index);
    if (entries[index].onshow) entries[index].onshow();
  }
  const list = el("div", { role: "tablist", class: "tabs", "aria-label": label }, buttons);
  list.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = (buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length;
    show(next);
    buttons[next].focus();
  });
  return { list, panels, show: (id) => show(entries.findIndex((entry) => entry.id === id)) };
}
