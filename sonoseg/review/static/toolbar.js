/** The bar above the image, the bar below it, and the buttons of the decision: what can be done now, with its key. */

import { brush, canPaint, startBrush } from "./brush.js";
import { startCalibration } from "./calibrate.js";
import { decide, resetToPrediction } from "./decide.js";
import { byId, el, icon, iconButton, setText } from "./dom.js";
import { stopDrawing } from "./draw.js";
import { edits, setNote } from "./edits.js";
import { GROUPS, commands } from "./keys.js";
import { showHelp } from "./help.js";
import { openBy } from "./open.js";
import { greyAt, resetWindow, windowing } from "./picture.js";
import { fit, view, zoomIn, zoomOut } from "./stage.js";
import { emit, on, state } from "./state.js";

const WHAT = {
  accepted: "The shapes are right as they are",
  corrected: "The shapes are right now that they were changed",
  rejected: "The image cannot be used",
};
const buttons = {};

export function build() {
  const add = (name, ...of) => (buttons[name] = iconButton(...of));
  const group = (...nodes) => el("div", { class: "group" }, nodes);
  byId("toolbar").append(
    group(add("previous", "left", "Previous image", () => openBy(-1), "←"), add("next", "right", "Next image", () => openBy(1), "→")),
    group(add("choose", "arrow", "Choose and move", stopDrawing, "Esc"), add("brush", "brush", "Brush", () => startBrush("brush"), "B"), add("erase", "eraser", "Eraser", () => startBrush("erase"), "G"), add("calibrate", "ruler", "Calibrate", startCalibration, "K")),
    group(add("undo", "undo", "Undo", commands.undo, "Z"), add("redo", "redo", "Redo", commands.redo, "Shift Z"), add("reset", "reset", "Back to what the model found", resetToPrediction, "R")),
    group(add("overlay", "eye", "Overlay", commands.overlay, "O"), add("prediction", "dotted", "What the model found", commands.prediction, "M"), add("enhanced", "wand", "Enhanced image", commands.enhanced, "E"), add("window", "contrast", "Window and level back to full", resetWindow, "W")),
    group(add("out", "minus", "Zoom out", zoomOut, "−"), el("span", { id: "zoom-text", class: "number" }), add("in", "plus", "Zoom in", zoomIn, "+"), add("fit", "fit", "Whole image", fit, "0")));
  buildDecisions();
  byId("help").addEventListener("click", () => showHelp(GROUPS));
  byId("calibrate-link").addEventListener("click", startCalibration);
  byId("note").addEventListener("input", (event) => setNote(event.target.value));
  on("item shapes state", show);
  on("view", () => setText(byId("zoom-text"), `${Math.round(view.zoom * 100)} %`));
  on("window", () => setText(byId("window-text"), `W ${Math.round(windowing.width)}  L ${Math.round(windowing.level)}`));
  on("pointer", tellPointer);
  on("item", () => (byId("note").value = edits.note));
  on("shapes", () => byId("note").value !== edits.note && (byId("note").value = edits.note));
  on("say", (text) => setText(byId("said"), text));
  on("view picture", drawScaleBar);
  on("shapes", drawScaleBar);
}

function buildDecisions() {
  const { blind } = state.session;
  const all = [
    ["accepted", "Accept", "A", "check", !blind],
    ["corrected", blind ? "Save my shapes" : "Corrected", "C", "pencil", true],
    ["rejected", "Reject", "X", "cross", true],
  ];
  byId("decisions").append(...all.filter((each) => each[4]).map(([decision, text, key, picture]) => el("button", {
    type: "button", class: "decide", data: { decision }, "aria-keyshortcuts": key, title: WHAT[decision], on: { click: () => decide(decision) },
  }, icon(picture), el("span", { text }), el("kbd", { text: key }))));
  byId("take-back").addEventListener("click", () => decide("open"));
}

function show() {
  const has = state.item !== null;
  for (const button of Object.values(buttons)) button.disabled = !has;
  const paint = has && canPaint();
  buttons.brush.hidden = buttons.erase.hidden = !paint;
  buttons.undo.disabled = !edits.canUndo;
  buttons.redo.disabled = !edits.canRedo;
  buttons.reset.disabled = buttons.prediction.disabled = !state.item?.predicted;
  const pressed = {
    choose: state.tool === "choose" || state.tool === "draw", brush: state.tool === "brush", erase: state.tool === "erase",
    calibrate: state.tool === "calibrate", overlay: state.overlay, prediction: state.prediction, enhanced: state.enhanced,
  };
  for (const [name, is] of Object.entries(pressed)) buttons[name].setAttribute("aria-pressed", is);
  const readOnly = Boolean(state.session.read_only);
  for (const button of document.querySelectorAll(".decide")) {
    button.disabled = !has || readOnly;
    button.setAttribute("aria-pressed", state.item?.decision === button.dataset.decision);
  }
  byId("take-back").hidden = !has || readOnly || state.item.decision === "open";
  byId("stage").dataset.tool = state.tool;
}

function tellPointer(point) {
  const grey = point && greyAt(point);
  const isInside = grey !== null && grey !== undefined && point;
  setText(byId("pointer-text"), isInside ? `x ${point[0].toFixed(1)}  y ${point[1].toFixed(1)}  grey ${grey}` : "");
  setText(byId("brush-text"), state.tool === "brush" || state.tool === "erase" ? `brush ${(2 * brush.radius).toFixed(0)} px` : "");
}

/** A bar of a round number of millimetres, at most a quarter of the width. */
function drawScaleBar() {
  const bar = byId("scale");
  bar.hidden = !edits.spacing || !state.item;
  if (bar.hidden) return;
  const perMillimetre = view.zoom / edits.spacing.col;
  const most = byId("stage").clientWidth / 4;
  const length = [200, 100, 50, 20, 10, 5, 2, 1, 0.5, 0.2, 0.1].find((each) => each * perMillimetre <= most) ?? 0.1;
  bar.style.width = `${length * perMillimetre}px`;
  setText(byId("scale-text"), `${length} mm`);
}

on("brush", () => emit("pointer", null));
