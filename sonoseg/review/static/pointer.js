/**
 * The pointer on the stage: choosing and dragging handles and shapes, panning, window and level; other tools take over.
 *
 * A handle or shape moves by as much as the pointer does, so that taking hold of it beside its point does not move it.
 */

import { byId } from "./dom.js";
import { cancel, change, commit, edits, live, withShape } from "./edits.js";
import { KINDS, handlesOf, outlineOf, shifted, withHandle } from "./kinds.js";
import { maskOf, outlinesOf } from "./masks.js";
import { dragWindow } from "./picture.js";
import { add, distance, inside, nearestOnOutline, rounded, subtract } from "./points.js";
import { TURN_AWAY, dragged, isSeen, redraw } from "./shapes.js";
import { onImage, panBy, pointerInImage, zoomAt } from "./stage.js";
import { emit, state, update } from "./state.js";

const HANDLE_PX = 11, OUTLINE_PX = 6;
const WHEEL = 0.0016;

/** Tools by name: {down(point, event), move(point, event), up(point, event), cancel(), cursor}. */
export const tools = {};
let drag = null;

export function listen() {
  const box = byId("stage");
  box.addEventListener("pointerdown", down);
  box.addEventListener("pointermove", move);
  box.addEventListener("pointerup", up);
  box.addEventListener("pointercancel", giveUp);
  box.addEventListener("pointerleave", () => emit("pointer", null));
  box.addEventListener("dblclick", doubleClick);
  box.addEventListener("contextmenu", (event) => event.preventDefault());
  box.addEventListener("wheel", wheel, { passive: false });
}

/** End a drag without a change; true where there was one. */
export function giveUp() {
  if (!drag) return false;
  drag.cancel?.();
  end();
  return true;
}

function down(event) {
  if (!state.item || drag) return;
  byId("stage").focus({ preventScroll: true });
  const point = pointerInImage(event);
  drag = chooseDrag(point, event);
  if (!drag) return;
  byId("stage").setPointerCapture(event.pointerId);
  event.preventDefault();
}

function chooseDrag(point, event) {
  if (event.button === 2) return follow(event, dragWindow, (dx, dy) => [dx, -dy]);
  if (event.button === 1 || (event.button === 0 && panKey.isDown)) return follow(event, panBy);
  if (event.button !== 0) return null;
  const tool = tools[state.tool];
  if (tool) {
    tool.down(point, event);
    return tool;
  }
  return takeHold(point) ?? follow(event, panBy);
}

/** Space held down pans with every tool. */
export const panKey = { isDown: false };

/** A drag in pixels of the screen. */
function follow(start, run, order = (dx, dy) => [dx, dy]) {
  let last = [start.clientX, start.clientY];
  const begun = last;
  let hasMoved = false;
  return {
    move(_, event) {
      const now = [event.clientX, event.clientY];
      hasMoved ||= distance(now, begun) > 3;
      run(...order(...subtract(now, last)));
      last = now;
    },
    up: () => !hasMoved && start.button === 0 && update({ chosen: -1, handle: null }),
  };
}

/** Hold of a handle of the chosen shape, or of the nearest outline. */
function takeHold(point) {
  const handle = handleAt(point);
  if (handle) return dragHandle(point, handle);
  const index = shapeAt(point);
  if (index < 0) return null;
  const wasChosen = index === state.chosen;
  update({ chosen: index, handle: null, structure: edits.shapes[index].structure });
  const held = handleAt(point);
  if (held) return dragHandle(point, held);
  return edits.shapes[index].mask ? {} : dragShape(point, wasChosen);
}

function dragHandle(from, handle) {
  const [index, shape] = [state.chosen, edits.chosenShape];
  const start = [handle.x, handle.y];
  update({ handle: handle.id });
  dragged.id = handle.id;
  return {
    move(point, event) {
      const to = add(start, subtract(point, from));
      live(withShape(index, withHandle(shape, handle.id, to, event.shiftKey)));
      emit("dragging", { point: handlesOf(edits.shapes[index], onImage(TURN_AWAY)).find(({ id }) => id === handle.id), role: handle.role });
    },
    up: () => commit(`${handle.role === "turn" ? "turn" : "change"} ${shape.structure}`),
    cancel,
  };
}

/** The first drag of a shape that was not chosen only chooses it, so that nothing moves by accident. */
function dragShape(from, wasChosen) {
  if (!wasChosen) return {};
  const [index, shape] = [state.chosen, edits.chosenShape];
  let hasMoved = false;
  return {
    move(point) {
      hasMoved ||= distance(point, from) > onImage(3);
      if (hasMoved) live(withShape(index, shifted(shape, subtract(point, from))));
    },
    up: () => commit(`move ${shape.structure}`),
    cancel,
  };
}

/** The handle of the chosen shape within reach of a point, the nearest first, or null. */
function handleAt(point) {
  const shape = edits.chosenShape;
  if (!shape || !isSeen(shape)) return null;
  const near = handlesOf(shape, onImage(TURN_AWAY)).map((handle) => ({ handle, away: distance(point, [handle.x, handle.y]) }));
  const best = near.reduce((a, b) => (b.away < a.away ? b : a), { away: Infinity });
  return best.away <= onImage(HANDLE_PX) ? best.handle : null;
}

/** Index of the shape whose outline is within reach of a point, or -1. */
function shapeAt(point) {
  let best = { away: onImage(OUTLINE_PX), index: -1 };
  edits.shapes.forEach((shape, index) => {
    if (!isSeen(shape)) return;
    const away = awayFrom(shape, point);
    if (away <= best.away) best = { away, index };
  });
  return best.index;
}

function awayFrom(shape, point) {
  if (!shape.mask) return nearestOnOutline(point, outlineOf(shape), KINDS[shape.kind].closed).distance;
  if (!maskOf(shape)) return Infinity;
  const lines = outlinesOf(shape);
  if (lines.filter((line) => inside(point, line)).length % 2) return 0;
  return Math.min(...lines.map((line) => nearestOnOutline(point, line, true).distance));
}

function move(event) {
  const point = pointerInImage(event);
  emit("pointer", point);
  if (drag) return drag.move?.(point, event);
  const tool = tools[state.tool];
  if (tool) {
    tool.hover?.(point, event);
    return setCursor(tool.cursor ?? "crosshair");
  }
  if (panKey.isDown) return setCursor("grab");
  return setCursor(handleAt(point) ? "crosshair" : shapeAt(point) >= 0 ? "pointer" : "default");
}

function up(event) {
  if (!drag) return;
  const ended = drag;
  end();
  ended.up?.(pointerInImage(event), event);
}

function end() {
  drag = null;
  dragged.id = null;
  emit("dragging", null);
  redraw();
}

/** A double click on an edge of an outline adds a vertex; elsewhere tools may use it. */
function doubleClick(event) {
  const point = pointerInImage(event);
  const tool = tools[state.tool];
  if (tool) return tool.double?.(point);
  const shape = edits.chosenShape;
  if (shape?.kind !== "region" || shape.mask || handleAt(point)) return;
  const near = nearestOnOutline(point, shape.points, true);
  if (near.distance > onImage(OUTLINE_PX)) return;
  const points = rounded([...shape.points.slice(0, near.edge + 1), near.point, ...shape.points.slice(near.edge + 1)]);
  change(withShape(state.chosen, { ...shape, points }), `add a vertex to ${shape.structure}`);
  update({ handle: `vertex${near.edge + 1}` });
}

function wheel(event) {
  event.preventDefault();
  if (!state.item) return;
  const box = byId("stage").getBoundingClientRect();
  const pixels = event.deltaY * [1, 16, 400][event.deltaMode];
  zoomAt(Math.exp(-pixels * WHEEL), event.clientX - box.left, event.clientY - box.top);
}

function setCursor(name) {
  byId("stage").dataset.cursor = name;
}
