/** The list of structures: colour, number key, eye, whether it was found, add, delete, and "not visible". */

import { byId, el, iconButton } from "./dom.js";
import { chooseStructure, deleteStructure, startDrawing, toggleNotVisible } from "./draw.js";
import { edits } from "./edits.js";
import { angleOf } from "./kinds.js";
import { emit, on, state, update } from "./state.js";

export function listen() {
  on("item shapes state", render);
}

/** Close or open the eye of a structure. */
export function toggleHidden(name) {
  const hidden = new Set(state.hidden);
  if (!hidden.delete(name)) hidden.add(name);
  update({ hidden });
}

function render(detail) {
  const list = byId("structures");
  if (!state.item || !state.session) return list.replaceChildren();
  if (detail?.live && list.children.length) return updateAngles(list);
  const focused = list.contains(document.activeElement) ? document.activeElement.dataset.of : null;
  list.replaceChildren(...state.session.structures.map(entry));
  if (focused) [...list.querySelectorAll("button")].find((button) => button.dataset.of === focused && !button.disabled)?.focus();
  return null;
}

function entry(structure, number) {
  const { name, color } = structure;
  const shapes = edits.shapes.filter((shape) => shape.structure === name);
  const isGone = edits.notVisible.includes(name);
  const isHidden = state.hidden.has(name);
  const isChosen = edits.chosenShape?.structure === name || (state.tool !== "choose" && state.structure === name);
  const what = isGone ? "not visible" : shapes.length ? describe(shapes) : "missing";
  const canAdd = !isGone && (!shapes.length || structure.shape === "region");
  const chooseIt = { type: "button", class: "name", data: { of: `${name} choose` }, "aria-pressed": isChosen, "aria-keyshortcuts": number + 1, title: structure.hint || null, on: { click: () => chooseStructure(number) } };
  const choose = el("button", chooseIt, el("kbd", { text: number + 1 }), el("span", { class: "swatch" }), el("span", { class: "label", text: name }), el("span", { class: "what", text: what }));
  const buttons = el("div", { class: "actions" },
    named(iconButton(isHidden ? "eye-off" : "eye", `${isHidden ? "Show" : "Hide"} ${name}`, () => toggleHidden(name), "V"), `${name} eye`, isHidden),
    named(iconButton("plus", `Draw ${name}`, () => startDrawing(name), "D"), `${name} add`, null, !canAdd),
    named(iconButton("trash", `Delete ${name}`, () => deleteStructure(name), "Delete"), `${name} delete`, null, !shapes.length),
    named(iconButton("absent", `${name} is not visible in this image`, () => toggleNotVisible(name), "N"), `${name} absent`, isGone));
  const state_ = isGone ? "gone" : shapes.length ? "found" : "missing";
  return el("li", { class: isChosen ? "chosen" : "", style: { "--colour": color }, data: { structure: name, state: state_ } }, choose, buttons);
}

function named(button, of, pressed = null, disabled = false) {
  button.dataset.of = of;
  if (pressed !== null) button.setAttribute("aria-pressed", pressed);
  button.disabled = disabled;
  return button;
}

function describe(shapes) {
  const angle = shapes.length === 1 ? angleOf(shapes[0]) : null;
  const kinds = { line: "line", rect: "rectangle", ellipse: "ellipse", region: "region" };
  if (shapes.length > 1) return `${shapes.length} ${kinds[shapes[0].kind]}s`;
  if (shapes[0].mask) return "painted";
  if (angle === null) return kinds[shapes[0].kind];
  const degrees = (Math.round(angle * 10) / 10 || 0).toFixed(1);  // never -0.0
  return shapes[0].kind === "rect" ? `turned ${degrees}°` : `${kinds[shapes[0].kind]}, ${degrees}°`;
}

function updateAngles(list) {
  for (const node of list.children) {
    const shapes = edits.shapes.filter((shape) => shape.structure === node.dataset.structure);
    if (shapes.length) node.querySelector(".what").textContent = describe(shapes);
  }
}

/** The structure that keys act on: that of the chosen shape, else the one chosen last. */
export function actedOn() {
  const name = edits.chosenShape?.structure ?? state.structure;
  if (!name) emit("notice", { text: "Choose a structure first, with its number.", kind: "info" });
  return name;
}
