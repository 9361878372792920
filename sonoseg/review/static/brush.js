/** Brush and eraser for regions: they change the mask of a structure, pixel by pixel. */

import { change, edits } from "./edits.js";
import { areDecoded, decode, emptyMask, encoded, fillPolygon, maskOf, outlines, paint, remember } from "./masks.js";
import { tools } from "./pointer.js";
import { extras, redraw } from "./shapes.js";
import { onImage } from "./stage.js";
import { colourOf, emit, on, state, structureOf, update } from "./state.js";

const SMALLEST = 0.5, LARGEST = 200;
/** Radius in pixels of the image. */
export const brush = { radius: 8 };
let mask = null;
let last = null;
let shownLines = [];
let hover = null;
/** Strokes wait for the PNG of the one before them; `unkept` is the newest that is not part of the shapes yet. */
let saving = Promise.resolve();
let unkept = null;

/** Whether the session has a structure that can be painted. */
export function canPaint() {
  return state.session?.structures.some((structure) => structure.shape === "region") ?? false;
}

/** Take the brush or the eraser for the chosen structure, or the first one that is a region. */
export function startBrush(tool) {
  const name = [edits.chosenShape?.structure, state.structure, ...state.session.structures.map((each) => each.name)]
    .find((each) => structureOf(each)?.shape === "region");
  if (!name) return emit("notice", { text: "No structure of this task is a region: lines, rectangles and ellipses have handles.", kind: "info" });
  update({ tool, structure: name, chosen: -1, handle: null });
  return emit("hint", `${tool === "brush" ? "Brush" : "Eraser"} for ${name}: drag over the image. [ and ] change its size. Shift: ${tool === "brush" ? "erase" : "paint"}. Esc: stop.`);
}

export function changeRadius(factor) {
  brush.radius = Math.max(SMALLEST, Math.min(LARGEST, brush.radius * factor));
  emit("brush");
  redraw();
}

const painting = {
  cursor: "none",
  down(point, event) {
    const isNext = unkept?.item === state.item && unkept.name === state.structure;
    mask = isNext ? { ...unkept.painted, bits: unkept.painted.bits.slice() } : maskOfStructure();
    if (!mask) refuse();
    last = point;
    painting.move(point, event);
  },
  move(point, event) {
    hover = point;
    const value = (state.tool === "brush") !== event.shiftKey ? 1 : 0;
    if (mask && paint(mask, last, point, brush.radius, value)) shownLines = outlines(mask);
    last = point;
    redraw();
  },
  up() {
    if (!mask) return;
    const stroke = { painted: mask, name: state.structure, item: state.item };
    unkept = stroke;
    saving = saving.then(() => keep(stroke)).finally(() => {
      if (unkept === stroke) unkept = null;
      if (mask === stroke.painted) stop();
      redraw();
    });
  },
  hover(point) {
    hover = point;
    redraw();
  },
  cancel: stop,
};

/** The pixels of the structure; null while some of them have not been decoded. */
function maskOfStructure() {
  const shapes = edits.shapes.filter((each) => each.structure === state.structure);
  if (!areDecoded(shapes)) return null;
  const made = emptyMask(state.item.width, state.item.height);
  for (const shape of shapes) {
    if (shape.points) fillPolygon(made, shape.points);
    else maskOf(shape).bits.forEach((bit, i) => bit && (made.bits[i] = 1));
  }
  return made;
}

/** No stroke begins on a mask whose pixels are not there: it would replace them. */
function refuse() {
  emit("notice", { text: `What is painted of ${state.structure} is still being read: paint again in a moment.`, kind: "info" });
  readMasks();
}

/** Undo may lead back to a mask whose pixels were forgotten. */
function readMasks() {
  if (!areDecoded(edits.shapes)) decode(edits.shapes).then(redraw).catch(() => null);
}

on("shapes", readMasks);

/** Resolves when the last stroke is part of the shapes. */
export const strokesKept = () => saving;

async function keep({ painted, name, item }) {
  if (state.item !== item) return null;
  const others = edits.shapes.filter((shape) => shape.structure !== name);
  const notVisible = edits.notVisible.filter((each) => each !== name);
  if (!painted.bits.includes(1)) return change({ shapes: others }, `erase ${name}`);
  const text = await encoded(painted);
  remember(text, painted);
  if (state.item !== item) return null;
  return change({ shapes: [...others, { structure: name, kind: "region", mask: text }], notVisible }, `paint ${name}`);
}

function stop() {
  [mask, last, shownLines] = [null, null, []];
}

tools.brush = painting;
tools.erase = painting;

extras.add(() => {
  if (state.tool !== "brush" && state.tool !== "erase") return [];
  const stroke = colourOf(state.structure);
  const lines = shownLines.map((line) => new Konva.Line({ points: line.flat(), closed: true, stroke, strokeWidth: 2, strokeScaleEnabled: false }));
  if (!hover) return lines;
  const ring = { x: hover[0], y: hover[1], radius: brush.radius, strokeScaleEnabled: false };
  const dash = state.tool === "erase" ? [4, 4] : undefined;
  return [
    ...lines,
    new Konva.Circle({ ...ring, stroke: "rgba(0, 0, 0, 0.6)", strokeWidth: 3 }),
    new Konva.Circle({ ...ring, stroke: "#ffffff", strokeWidth: 1.25, dash }),
    new Konva.Circle({ x: hover[0], y: hover[1], radius: onImage(1), fill: "#ffffff" }),
  ];
});
