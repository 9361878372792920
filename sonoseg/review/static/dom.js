/** Elements without HTML text: everything that a server or a file name says goes in as text, never as markup. */

const SVG = "http://www.w3.org/2000/svg";

/** The element of the page with this id. */
export function byId(id) {
  return document.getElementById(id);
}

/**
 * A new element. `attributes`: `class`, `text`, `on` ({event: function}), `data` ({name: value}), `style` ({property: value});
 * true and false set and leave out an attribute, everything else is set as text. Children that are null are left out.
 */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) setAttribute(node, name, value);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return node;
}

/** Put the pictures of icons.svg into the page, where they are also without the server. */
export async function loadIcons() {
  const answer = await fetch("/static/icons.svg");
  const svg = new DOMParser().parseFromString(await answer.text(), "image/svg+xml").documentElement;
  svg.setAttribute("hidden", "");
  svg.setAttribute("aria-hidden", "true");
  document.body.append(document.importNode(svg, true));
}

/** A picture of icons.svg, for the eye only: the text beside it or the label of its button says what it means. */
export function icon(name, className = "icon") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#icon-${name}`);
  svg.append(use);
  return svg;
}

/** A button with an icon, its name for screen readers and as tooltip, and the key that does the same. */
export function iconButton(name, label, run, key = "") {
  const title = key ? `${label} (${key})` : label;
  const attributes = { class: "tool", type: "button", "aria-label": label, title, on: { click: run } };
  if (key) attributes["aria-keyshortcuts"] = key.replaceAll(" ", "");
  return el("button", attributes, icon(name));
}

/** Set text only where it differs, so that live regions speak and layout moves only where something has changed. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Whether a key typed at `target` belongs to it; a slider takes arrows, and no letters. */
export function takesKeys(target, key) {
  if (target instanceof HTMLInputElement && target.type === "range" && key.length === 1) return false;
  return target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null;
}

function setAttribute(node, name, value) {
  if (name === "text") node.textContent = value;
  else if (name === "class") node.className = value;
  else if (name === "on") for (const [event, run] of Object.entries(value)) node.addEventListener(event, run);
  else if (name === "data") Object.assign(node.dataset, value);
  else if (name === "style") for (const [property, text] of Object.entries(value)) node.style.setProperty(property, text);
  else if (value === true) node.setAttribute(name, "");
  else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
}
