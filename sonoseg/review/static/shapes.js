/** Shapes, predictions, marks of measurements and handles on the stage. Widths are those of the screen at every zoom. */

import { edits } from "./edits.js";
import { KINDS, handlesOf, outlineOf } from "./kinds.js";
import { outlinesOf } from "./masks.js";
import { measured } from "./measurements.js";
import { distance } from "./points.js";
import { layers, onImage } from "./stage.js";
import { colourOf, on, state } from "./state.js";

const HALO = "rgba(0, 0, 0, 0.55)";
/** Distance of the turning handle in pixels of the screen. */
export const TURN_AWAY = 26;
/** Of an outline with more vertices only those near the pointer have a handle. */
const MANY_VERTICES = 40, NEAR_PX = 50;
let pointer = null;

/** Shapes that are being drawn, and other passing marks: functions that return Konva nodes. */
export const extras = new Set();
let isDue = false;

/** Draw everything anew before the next frame. */
export function redraw() {
  if (isDue) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    drawShapes();
    drawHandles();
  });
}

export const isSeen = (shape) => state.overlay && !state.hidden.has(shape.structure);

/** The id of the handle that a drag has, or null: it is drawn as a cross, which hides nothing. */
export const dragged = { id: null };

function drawShapes() {
  const layer = layers.shapes;
  layer.destroyChildren();
  if (state.item) {
    if (state.prediction && state.item.predicted) state.item.predicted.forEach((shape) => addShape(layer, shape, "predicted"));
    if (state.overlay) marks().forEach((node) => layer.add(node));
    edits.shapes.forEach((shape, i) => isSeen(shape) && addShape(layer, shape, i === state.chosen ? "chosen" : "plain"));
  }
  for (const nodes of extras) nodes().forEach((node) => layer.add(node));
  layer.batchDraw();
}

function addShape(layer, shape, how) {
  const colour = colourOf(shape.structure);
  if (shape.mask) return layer.add(painted(shape, colour, how));
  const points = outlineOf(shape).flat();
  const closed = KINDS[shape.kind].closed;
  const common = { points, closed, lineJoin: "round", lineCap: "round", strokeScaleEnabled: false };
  if (how === "predicted") {
    layer.add(new Konva.Line({ ...common, stroke: HALO, strokeWidth: 3 }));
    return layer.add(new Konva.Line({ ...common, stroke: colour, strokeWidth: 1.25, dash: [3, 5], opacity: 0.95 }));
  }
  const width = how === "chosen" ? 1.75 : 1.5;
  layer.add(new Konva.Line({ ...common, stroke: HALO, strokeWidth: width + 2 }));
  return layer.add(new Konva.Line({ ...common, stroke: colour, strokeWidth: width }));
}

function painted(shape, colour, how) {
  const lines = outlinesOf(shape);
  const trace = (context) => {
    context.beginPath();
    for (const line of lines) {
      line.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
      context.closePath();
    }
  };
  return new Konva.Shape({
    sceneFunc(context) {
      const native = context._context;
      trace(native);
      native.globalAlpha = how === "predicted" ? 0 : 0.16;
      native.fillStyle = colour;
      native.fill("evenodd");
      native.globalAlpha = 1;
      native.lineWidth = onImage(how === "chosen" ? 1.75 : 1.5);
      native.strokeStyle = colour;
      native.stroke();
    },
  });
}

/** What measurements are taken along, as thin dashed lines with short bars at their ends. */
function marks() {
  return measured.list.filter((each) => each.mark && each.value !== null && !isTwin(each)).flatMap(({ mark: [from, to] }) => {
    const common = { points: [...from, ...to], strokeScaleEnabled: false };
    const ends = [from, to].map(([x, y]) => new Konva.Circle({ x, y, radius: onImage(2), fill: "#ffffff", opacity: 0.8 }));
    return [
      new Konva.Line({ ...common, stroke: HALO, strokeWidth: 2.5 }),
      new Konva.Line({ ...common, stroke: "#ffffff", strokeWidth: 1, dash: [2, 4], opacity: 0.8 }),
      ...ends,
    ];
  });
}

/** The same length is often listed in millimetres and in pixels; it has one mark. */
function isTwin(one) {
  return measured.list.some((other) => other !== one && other.mark && measured.list.indexOf(other) < measured.list.indexOf(one)
    && JSON.stringify(other.mark) === JSON.stringify(one.mark));
}

function drawHandles() {
  const layer = layers.handles;
  layer.destroyChildren();
  const shape = edits.chosenShape;
  if (shape && isSeen(shape) && state.tool === "choose") {
    const handles = handlesOf(shape, onImage(TURN_AWAY));
    const few = handles.length <= MANY_VERTICES;
    const isNear = ({ x, y }) => pointer && distance([x, y], pointer) < onImage(NEAR_PX);
    for (const handle of handles) {
      if (few || handle.id === state.handle || isNear(handle)) addHandle(layer, handle, colourOf(shape.structure));
    }
  }
  layer.batchDraw();
}

/** Rings and crosses with nothing inside, so that the tissue at the point itself stays in sight. */
function addHandle(layer, handle, colour) {
  const { x, y } = handle;
  const isChosen = handle.id === state.handle;
  if (handle.from) {
    layer.add(new Konva.Line({ points: [...handle.from, x, y], stroke: colour, strokeWidth: 1, opacity: 0.7, strokeScaleEnabled: false }));
  }
  if (isChosen && dragged.id === handle.id) return layer.add(...crosshair(x, y, "#ffffff"));
  const radius = onImage({ end: 5, side: 3.5, centre: 4.5, turn: 5, vertex: 3 }[handle.role]);
  const stroke = isChosen ? "#ffffff" : colour;
  if (handle.role === "centre") {
    layer.add(...crosshair(x, y, stroke));
  } else {
    layer.add(new Konva.Circle({ x, y, radius, stroke: HALO, strokeWidth: 3.5, strokeScaleEnabled: false }));
    layer.add(new Konva.Circle({ x, y, radius, stroke, strokeWidth: 1.5, strokeScaleEnabled: false }));
    if (handle.role === "turn") layer.add(new Konva.Circle({ x, y, radius: onImage(1.5), fill: stroke }));
  }
  if (isChosen) layer.add(new Konva.Circle({ x, y, radius: onImage(10), stroke: "#ffffff", strokeWidth: 1, dash: [2, 3], strokeScaleEnabled: false }));
  return layer;
}

/** Four short lines that leave the point itself free. */
export function crosshair(x, y, stroke) {
  const [near, far] = [onImage(3), onImage(9)];
  return [[1, 0], [-1, 0], [0, 1], [0, -1]].flatMap(([dx, dy]) => {
    const points = [x + dx * near, y + dy * near, x + dx * far, y + dy * far];
    return [
      new Konva.Line({ points, stroke: HALO, strokeWidth: 3, strokeScaleEnabled: false }),
      new Konva.Line({ points, stroke, strokeWidth: 1.25, strokeScaleEnabled: false }),
    ];
  });
}

on("shapes state view measured", redraw);
on("pointer", (point) => {
  pointer = point;
  if (edits.chosenShape?.points?.length > MANY_VERTICES) redraw();
});
