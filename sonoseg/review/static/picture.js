/** The image on the stage: loading it ahead, original or enhanced, and its window and level. */

import { blob, imagePath } from "./api.js";
import { byId } from "./dom.js";
import { layers, setImageSize, view } from "./stage.js";
import { emit, frameOf, on, state } from "./state.js";

const KEPT = 24;
const SMOOTH_BELOW = 5;
const FULL = { width: 255, level: 127.5 };
const NARROWEST = 4;

/** Width and level of the grey values that are shown, from black to white. */
export const windowing = { ...FULL };
const cache = new Map();
let greys = null;
let canvas = null;
let node = null;

/** Load the image of an item into the cache; returns its ImageBitmap. */
export function load(id, kind, frame) {
  const path = imagePath(id, kind, frame);
  let loading = cache.get(path);
  if (!loading) {
    loading = blob(path).then(createImageBitmap);
    loading.catch(() => cache.delete(path));
  }
  cache.delete(path);
  cache.set(path, loading);
  if (cache.size > KEPT) cache.delete(cache.keys().next().value);
  return loading;
}

/** Show the open item's image, none where it cannot be loaded. Another image that was asked for later wins. */
export async function show() {
  const { item } = state;
  const asked = [item.id, state.enhanced ? "enhanced" : "original", frameOf(item)];
  const isAsked = () => state.item === item && asked[1] === (state.enhanced ? "enhanced" : "original");
  const bitmap = await load(...asked).catch((error) => {
    if (isAsked()) clear();
    throw error;
  });
  if (!isAsked()) return;
  canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(bitmap, 0, 0);
  greys = context.getImageData(0, 0, bitmap.width, bitmap.height);
  node?.destroy();
  node = new Konva.Image({ image: canvas, x: -0.5, y: -0.5, width: bitmap.width, height: bitmap.height });
  layers.picture.add(node);
  applyWindow();
  setImageSize(bitmap.width, bitmap.height);
  byId("stage").dataset.picture = item.id;
  emit("picture");
}

/** Nothing is shown: another image is awaited. */
export function clear() {
  node?.destroy();
  [node, greys, canvas] = [null, null, null];
  delete byId("stage").dataset.picture;
  layers.picture.batchDraw();
}

/** The canvas that is shown, with window and level applied, or null. */
export const shownCanvas = () => canvas;

/** Grey value of the original at a point of the image, or null outside. */
export function greyAt([x, y]) {
  const column = Math.round(x), row = Math.round(y);
  if (!greys || column < 0 || row < 0 || column >= greys.width || row >= greys.height) return null;
  return greys.data[4 * (row * greys.width + column)];
}

/** Change window and level by a drag: to the right widens the window; upwards raises the level, which darkens. */
export function dragWindow(dx, dy) {
  windowing.width = Math.max(NARROWEST, Math.min(510, windowing.width + dx));
  windowing.level = Math.max(0, Math.min(255, windowing.level + dy));
  applyWindow();
}

export function resetWindow() {
  Object.assign(windowing, FULL);
  applyWindow();
}

function applyWindow() {
  emit("window");
  if (!greys) return;
  const low = windowing.level - windowing.width / 2;
  const table = new Uint32Array(256);
  for (let grey = 0; grey < 256; grey += 1) {
    const shown = Math.round(Math.max(0, Math.min(255, ((grey - low) / windowing.width) * 255)));
    table[grey] = 0xff000000 | (shown << 16) | (shown << 8) | shown;
  }
  const out = new ImageData(greys.width, greys.height);
  const words = new Uint32Array(out.data.buffer);
  for (let i = 0; i < words.length; i += 1) words[i] = table[greys.data[4 * i]];
  canvas.getContext("2d").putImageData(out, 0, 0);
  layers.picture.batchDraw();
}

/** Pixels can be told apart where they are large, and are smoothed where they are not. */
on("view", () => {
  const smooth = view.zoom < SMOOTH_BELOW;
  if (layers.picture.imageSmoothingEnabled() !== smooth) layers.picture.imageSmoothingEnabled(smooth);
});
