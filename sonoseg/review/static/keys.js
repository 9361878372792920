/** Every key of the page, in one table: what is pressed, what it does, and the words of the help. */

import { changeRadius, startBrush } from "./brush.js";
import { startCalibration } from "./calibrate.js";
import { decide, resetToPrediction } from "./decide.js";
import { isOpen } from "./dialogs.js";
import { byId, takesKeys } from "./dom.js";
import { chooseStructure, deleteChosen, finishOutline, nextHandle, nudge, startDrawing, stopDrawing, toggleNotVisible } from "./draw.js";
import { edits, redo, undo } from "./edits.js";
import { openBy, openNext } from "./open.js";
import { resetWindow } from "./picture.js";
import { giveUp, panKey } from "./pointer.js";
import { play, stepFrame } from "./series.js";
import { fit, zoomIn, zoomOut, zoomTo } from "./stage.js";
import { emit, state, update } from "./state.js";
import { actedOn, toggleHidden } from "./structures.js";
import { showHelp } from "./help.js";

const FINE = 0.1, COARSE = 1;
const NO_KEYS = "sonoseg-no-single-keys";

export const commands = {
  undo: () => told("Undone", undo()),
  redo: () => told("Done again", redo()),
  overlay: () => update({ overlay: !state.overlay }),
  enhanced: () => (update({ enhanced: !state.enhanced }), emit("kind")),
  prediction: () => (state.item?.predicted ? update({ prediction: !state.prediction }) : emit("notice", { text: "The prediction is not shown in a blind review.", kind: "info" })),
  actualSize: () => zoomTo(1),
};

/** Groups of the help; each key: [keys as they are shown, what it does, what is pressed: function]. */
export const GROUPS = [
  ["Decide", [
    ["A", "Accept as it is; the next image opens", { a: () => decide("accepted") }],
    ["C", "Corrected; the next image opens", { c: () => decide("corrected") }],
    ["X", "Reject the image: not usable", { x: () => decide("rejected") }],
    ["U", "Take the decision back", { u: () => decide("open") }],
    ["I", "Write a note", { i: () => byId("note").focus() }],
  ]],
  ["Images", [
    ["← →", "Previous and next image", { ArrowLeft: () => arrow([-1, 0], -1), ArrowRight: () => arrow([1, 0], 1), ArrowUp: () => arrow([0, -1], -1), ArrowDown: () => arrow([0, 1], 1), PageUp: () => openBy(-1), PageDown: () => openBy(1) }],
    ["J", "Next image that is not reviewed", { j: () => openNext() }],
    [", .", "Previous and next frame of a loop", { ",": () => stepFrame(-1), ".": () => stepFrame(1) }],
    ["P", "Play a loop, or stop it", { p: play }],
  ]],
  ["Look", [
    ["O", "Overlay on and off", { o: commands.overlay }],
    ["E", "Enhanced or original image", { e: commands.enhanced }],
    ["M", "Show what the model found, dotted", { m: commands.prediction }],
    ["V", "Hide or show the chosen structure", { v: () => withStructure(toggleHidden) }],
    ["+ −", "Zoom in and out", { "+": zoomIn, "=": zoomIn, "-": zoomOut }],
    ["0", "Whole image", { 0: fit }],
    ["W", "Window and level back to full", { w: resetWindow }],
  ]],
  ["Correct", [
    ["1 to 9", "Choose a structure, or draw it where it is missing", Object.fromEntries(Array.from({ length: 9 }, (_, i) => [i + 1, () => chooseStructure(i)]))],
    ["H, Shift H", "Next and previous handle", { h: () => nextHandle(1), H: () => nextHandle(-1) }],
    ["Arrows", "Move the chosen handle by 0.1 pixel; with Shift by 1", { "shift+ArrowLeft": () => arrow([-1, 0], 0, COARSE), "shift+ArrowRight": () => arrow([1, 0], 0, COARSE), "shift+ArrowUp": () => arrow([0, -1], 0, COARSE), "shift+ArrowDown": () => arrow([0, 1], 0, COARSE) }],
    ["D", "Draw the chosen structure anew", { d: () => withStructure(startDrawing) }],
    ["Delete", "Delete the chosen shape or vertex", { Delete: deleteChosen, Backspace: deleteChosen }],
    ["N", "The chosen structure is not visible", { n: () => withStructure(toggleNotVisible) }],
    ["B, G", "Brush and eraser for regions", { b: () => startBrush("brush"), g: () => startBrush("erase") }],
    ["[ ]", "Smaller and larger brush", { "[": () => changeRadius(1 / 1.2), "]": () => changeRadius(1.2) }],
    ["K", "Calibrate: two points of a known distance", { k: startCalibration }],
    ["R", "Back to what the model found", { r: resetToPrediction }],
    ["Z, Shift Z", "Undo and redo", { z: commands.undo, Z: commands.redo }],
    ["Esc", "Stop a tool, let go of a handle or shape", { Escape: escape, Enter: finishOutline }],
  ]],
  ["Page", [["?", "These keys", { "?": () => showHelp(GROUPS) }]]],
];

/** With the pointer, for the help. */
export const POINTER = [
  ["Wheel", "Zoom to the pointer"],
  ["Drag beside shapes", "Move the image; with Space held down anywhere"],
  ["Right button", "Window (right: wider) and level (up: higher, so darker)"],
  ["Click a line", "Choose the shape: its handles appear"],
  ["Shift while dragging", "An axis of an ellipse keeps its direction; a rectangle turns in steps of 15°"],
  ["Double click an outline", "Add a vertex"],
];

const bindings = new Map(GROUPS.flatMap(([, rows]) => rows.flatMap(([, , keys]) => Object.entries(keys))));

export function listen() {
  document.addEventListener("keydown", down);
  document.addEventListener("keyup", (event) => event.code === "Space" && (panKey.isDown = false));
  window.addEventListener("blur", () => (panKey.isDown = false));
}

/** Single keys can be switched off, for those who speak to their computer. */
export const singleKeys = {
  get areOn() {
    return localStorage.getItem(NO_KEYS) === null;
  },
  set areOn(value) {
    if (value) localStorage.removeItem(NO_KEYS);
    else localStorage.setItem(NO_KEYS, "1");
  },
};

function down(event) {
  if (isOpen() || event.isComposing) return;
  if (takesKeys(event.target, event.key)) {
    if (event.key === "Escape") byId("stage").focus();
    return;
  }
  const isUndo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
  if (isUndo) {
    event.preventDefault();
    (event.shiftKey ? commands.redo : commands.undo)();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.code === "Space" && event.target === byId("stage")) {
    panKey.isDown = true;
    event.preventDefault();
    return;
  }
  if (event.key === "Enter" && event.target !== byId("stage")) return;
  const run = bindings.get(nameOf(event));
  const isWord = event.key.length === 1 && event.key !== "?";
  if (!run || (isWord && !singleKeys.areOn)) return;
  event.preventDefault();
  run();
}

/** The key as the table has it: letters as without Caps Lock, arrows with "shift+". */
function nameOf({ key, shiftKey }) {
  if (key.startsWith("Arrow")) return shiftKey ? `shift+${key}` : key;
  if (/^\p{L}$/u.test(key)) {
    const [lower, upper] = [key.toLowerCase(), key.toUpperCase()];
    return shiftKey && bindings.has(upper) ? upper : lower;
  }
  return key;
}

/** Arrows move what is chosen, and change the image where nothing is. */
function arrow(direction, step, size = FINE) {
  if (edits.chosenShape?.points) nudge(direction.map((value) => value * size));
  else if (step) openBy(step);
}

function escape() {
  if (giveUp() || stopDrawing()) return;
  if (state.handle) update({ handle: null });
  else update({ chosen: -1 });
}

function withStructure(run) {
  const name = actedOn();
  if (name) run(name);
}

function told(word, text) {
  emit("say", text === null ? `Nothing to ${word === "Undone" ? "undo" : "do again"}` : `${word}: ${text}`);
}
