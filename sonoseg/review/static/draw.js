/** Drawing a new shape of a structure, and the other changes of whole structures: delete, not visible, handles by key. */

import { change, edits, withShape } from "./edits.js";
import { KINDS, drawnRegion, handlesOf, shifted, withHandle } from "./kinds.js";
import { add, distance, rounded } from "./points.js";
import { tools } from "./pointer.js";
import { TURN_AWAY, extras, redraw } from "./shapes.js";
import { onImage } from "./stage.js";
import { colourOf, emit, state, structureOf, update } from "./state.js";

const CLICK_PX = 4, CLOSE_PX = 9;
const OUTLINE_TOLERANCE = 0.4;
let points = [];
let hover = null;
let pressed = null;

/** Begin to draw a structure. */
export function startDrawing(name) {
  points = [];
  update({ tool: "draw", structure: name, chosen: -1, handle: null });
  emit("hint", hintOf(structureOf(name)));
}

/** Choose the structure with this number; draw it where the image has none. A second time: its next shape. */
export function chooseStructure(number) {
  const structure = state.session.structures[number];
  if (!structure) return;
  const indices = indicesOf(structure.name);
  if (!indices.length) return startDrawing(structure.name);
  const next = indices[(indices.indexOf(state.chosen) + 1) % indices.length];
  update({ tool: "choose", chosen: next, handle: null, structure: structure.name });
}

/** Remove the chosen vertex of an outline, or the chosen shape. */
export function deleteChosen() {
  const shape = edits.chosenShape;
  if (!shape) return;
  if (state.handle?.startsWith("vertex") && shape.points.length > 3) {
    const vertex = Number(state.handle.slice(6));
    update({ handle: null });
    change(withShape(state.chosen, { ...shape, points: shape.points.filter((_, i) => i !== vertex) }), "delete a vertex");
    return;
  }
  change(withShape(state.chosen, null), `delete ${shape.structure}`);
  update({ chosen: -1, handle: null });
}

/** Remove all shapes of a structure. */
export function deleteStructure(name) {
  update({ chosen: -1, handle: null });
  change({ shapes: edits.shapes.filter((shape) => shape.structure !== name) }, `delete ${name}`);
}

/** State that a structure cannot be seen in the image, which removes its shapes, or take that back. */
export function toggleNotVisible(name) {
  const is = edits.notVisible.includes(name);
  update({ chosen: -1, handle: null });
  if (is) return change({ notVisible: edits.notVisible.filter((each) => each !== name) }, `${name} may be visible`);
  const shapes = edits.shapes.filter((shape) => shape.structure !== name);
  return change({ shapes, notVisible: [...edits.notVisible, name].sort() }, `${name} is not visible`);
}

/** Choose the next (1) or the previous (-1) handle of the chosen shape. */
export function nextHandle(step) {
  if (!edits.chosenShape && edits.shapes.length) update({ chosen: 0, structure: edits.shapes[0].structure });
  const shape = edits.chosenShape;
  if (!shape) return;
  const ids = handlesOf(shape, 1).map((handle) => handle.id);
  if (!ids.length) return;
  const at = ids.indexOf(state.handle);
  const next = at < 0 && step < 0 ? ids.length - 1 : (at + step + ids.length) % ids.length;
  update({ tool: "choose", handle: ids[next] });
}

/** Move the chosen handle, or the chosen shape where none is, by a number of pixels of the image. */
export function nudge(by) {
  const shape = edits.chosenShape;
  const handle = handlesOf(shape, onImage(TURN_AWAY)).find(({ id }) => id === state.handle);
  const moved = handle ? withHandle(shape, handle.id, add([handle.x, handle.y], by)) : shifted(shape, by);
  change(withShape(state.chosen, moved), `move ${shape.structure}`);
}

/** Close the outline that is being drawn by clicks; true where there was one. */
export function finishOutline() {
  if (state.tool !== "draw" || points.length < 3) return false;
  finish(rounded(points));
  return true;
}

/** Give the drawing up; true where something was drawn. */
export function stopDrawing() {
  if (state.tool === "choose") return false;
  [points, pressed] = [[], null];
  update({ tool: "choose" });
  emit("hint", null);
  return true;
}

function hintOf({ shape, name, hint }) {
  const how = {
    line: "Drag from one end to the other.",
    rect: "Drag from one corner to the opposite one.",
    ellipse: "Drag along the longer axis, from one end to the other.",
    region: "Draw round it with the button held down, or click its corners and press Enter.",
  }[shape];
  return `${name}: ${hint ? `${hint} ` : ""}${how} Esc: stop.`;
}

function finish(drawn) {
  const { name, shape: kind } = structureOf(state.structure);
  const isOne = kind !== "region";
  const others = isOne ? edits.shapes.filter((shape) => shape.structure !== name) : edits.shapes;
  [points, pressed] = [[], null];
  change({ shapes: [...others, { structure: name, kind, points: drawn }], notVisible: edits.notVisible.filter((each) => each !== name) }, `draw ${name}`);
  update({ tool: "choose", chosen: others.length, handle: null });
  emit("hint", null);
}

const indicesOf = (name) => edits.shapes.flatMap((shape, i) => (shape.structure === name ? [i] : []));

const drawing = {
  down(point) {
    pressed = point;
    const isOutline = structureOf(state.structure).shape === "region";
    if (isOutline && points.length >= 3 && distance(point, points[0]) <= onImage(CLOSE_PX)) return finish(rounded(points));
    points = isOutline ? [...points, point] : [point];
    return redraw();
  },
  move(point) {
    hover = point;
    if (pressed && structureOf(state.structure).shape === "region") points.push(point);
    redraw();
  },
  up(point) {
    if (!pressed) return;
    const isClick = distance(point, pressed) < onImage(CLICK_PX);
    const kind = structureOf(state.structure).shape;
    if (kind === "region") {
      if (!isClick && points.length > 8) finish(rounded(drawnRegion(points, OUTLINE_TOLERANCE)));
    } else if (!isClick) {
      const drawn = rounded(KINDS[kind].drawn(pressed, point));
      if (KINDS[kind].isDrawn(drawn)) finish(drawn);
    }
    pressed = null;
    redraw();
  },
  hover(point) {
    hover = point;
    if (points.length) redraw();
  },
  double: () => finishOutline(),
  cancel() {
    [points, pressed] = [[], null];
  },
};

tools.draw = drawing;

extras.add(() => {
  if (state.tool !== "draw" || !points.length || !hover) return [];
  const kind = structureOf(state.structure).shape;
  const shown = kind === "region" ? [...points, hover] : KINDS[kind].outline(KINDS[kind].drawn(points[0], hover));
  const closed = kind !== "region" && KINDS[kind].closed;
  const stroke = colourOf(state.structure);
  return [new Konva.Line({ points: shown.flat(), closed, stroke, strokeWidth: 1.5, strokeScaleEnabled: false })];
});
