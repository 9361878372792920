/**
 * The Konva stage: its layers, and the view, which maps pixels of the image to the screen.
 *
 * A point (x, y) of the image lies at (left + x * zoom, top + y * zoom) in CSS pixels from the stage's corner; whole
 * numbers are centres of pixels. Konva draws at the screen's own resolution, so zoom 1 at device pixel ratio 2 shows
 * a pixel of the image on four of the screen.
 */

import { byId } from "./dom.js";
import { emit } from "./state.js";

const MARGIN = 14;
const SMALLEST_ZOOM = 0.05, LARGEST_ZOOM = 64;
const STEP = 1.25;

export const view = { zoom: 1, left: 0, top: 0 };
/** Layers from the back to the front. */
export const layers = {};
let stage = null;
let size = null;
let isFitted = true;

/** Build the stage in its element; call once. */
export function build() {
  const box = byId("stage");
  stage = new Konva.Stage({ container: box, width: box.clientWidth, height: box.clientHeight, listening: false });
  for (const name of ["picture", "shapes", "handles"]) {
    layers[name] = new Konva.Layer({ listening: false });
    stage.add(layers[name]);
  }
  new ResizeObserver(resize).observe(box);
  followPixelRatio();
}

/** Begin with an image of another size: it is shown as a whole. With the same size the view stays. */
export function setImageSize(width, height) {
  if (size && size.width === width && size.height === height && !isFitted) return;
  size = { width, height };
  fit();
}

/** Show the whole image. */
export function fit() {
  if (!size || !stage) return;
  const zoom = Math.min((stage.width() - 2 * MARGIN) / size.width, (stage.height() - 2 * MARGIN) / size.height);
  const bounded = Math.max(SMALLEST_ZOOM, Math.min(LARGEST_ZOOM, zoom));
  const left = (stage.width() - (size.width - 1) * bounded) / 2, top = (stage.height() - (size.height - 1) * bounded) / 2;
  apply(bounded, left, top);
  isFitted = true;
}

/** Zoom by a factor; the point of the image under (x, y), in CSS pixels of the stage, stays there. */
export function zoomAt(factor, x = stage.width() / 2, y = stage.height() / 2) {
  zoomTo(view.zoom * factor, x, y);
}

export function zoomTo(zoom, x = stage.width() / 2, y = stage.height() / 2) {
  const bounded = Math.max(SMALLEST_ZOOM, Math.min(LARGEST_ZOOM, zoom));
  const at = toImage([x, y]);
  isFitted = false;
  apply(bounded, x - at[0] * bounded, y - at[1] * bounded);
}

export const zoomIn = () => zoomAt(STEP);
export const zoomOut = () => zoomAt(1 / STEP);

export function panBy(dx, dy) {
  isFitted = false;
  apply(view.zoom, view.left + dx, view.top + dy);
}

/** Point of the image at a point of the stage, both [x, y]. */
export const toImage = ([x, y]) => [(x - view.left) / view.zoom, (y - view.top) / view.zoom];
export const toScreen = ([x, y]) => [view.left + x * view.zoom, view.top + y * view.zoom];

/** Point of the image under the pointer of an event. */
export function pointerInImage(event) {
  const box = byId("stage").getBoundingClientRect();
  return toImage([event.clientX - box.left, event.clientY - box.top]);
}

/** Length in pixels of the image of so many pixels of the screen. */
export const onImage = (pixels) => pixels / view.zoom;

function apply(zoom, left, top) {
  Object.assign(view, { zoom, left: keptNear(left, zoom, "width"), top: keptNear(top, zoom, "height") });
  stage.scale({ x: zoom, y: zoom });
  stage.position({ x: view.left, y: view.top });
  const { dataset } = byId("stage");
  [dataset.zoom, dataset.left, dataset.top] = [view.zoom, view.left, view.top];
  emit("view");
}

/** At least a corner of the image stays in sight. */
function keptNear(offset, zoom, side) {
  if (!size) return offset;
  const seen = 60;
  return Math.min(stage[side]() - seen, Math.max(seen - size[side] * zoom, offset));
}

function resize() {
  const box = byId("stage");
  if (!box.clientWidth || !box.clientHeight) return;
  const centre = toImage([stage.width() / 2, stage.height() / 2]);
  stage.size({ width: box.clientWidth, height: box.clientHeight });
  if (isFitted) fit();
  else apply(view.zoom, stage.width() / 2 - centre[0] * view.zoom, stage.height() / 2 - centre[1] * view.zoom);
}

/** A window that moves to a screen of another resolution is drawn in that resolution. */
function followPixelRatio() {
  const query = matchMedia(`(resolution: ${devicePixelRatio}dppx)`);
  query.addEventListener("change", () => {
    for (const layer of Object.values(layers)) layer.getCanvas().setPixelRatio(devicePixelRatio);
    stage.batchDraw();
    followPixelRatio();
  }, { once: true });
}
