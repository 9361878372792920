/**
 * Masks of painted regions: filled from polygons, outlined for the eye, and as PNG for the server.
 *
 * A mask is {width, height, bits: Uint8Array of 0 and 1, row by row}. A shape keeps its PNG as base64 text, so that it is
 * saved and undone as other shapes are; `maskOf` has the pixels.
 */

import { edits } from "./edits.js";

const KEPT = 60;
const known = new Map();

export function emptyMask(width, height) {
  return { width, height, bits: new Uint8Array(width * height) };
}

/** Fill a polygon into the mask: the even-odd rule, with every pixel centre that lies on an edge, as the server fills it. */
export function fillPolygon(mask, points) {
  const ys = points.map((point) => point[1]);
  const first = Math.max(0, Math.ceil(Math.min(...ys))), last = Math.min(mask.height - 1, Math.floor(Math.max(...ys)));
  for (let y = first; y <= last; y += 1) {
    const inside = [];
    points.forEach((start, i) => {
      const end = points[(i + 1) % points.length];
      const [upper, lower] = start[1] <= end[1] ? [start, end] : [end, start];
      if (y < upper[1] || y > lower[1]) return;
      if (upper[1] === lower[1]) return fillRow(mask, y, Math.min(start[0], end[0]), Math.max(start[0], end[0]));
      const x = upper[0] + ((lower[0] - upper[0]) / (lower[1] - upper[1])) * (y - upper[1]);
      fillRow(mask, y, x, x);
      if (y < lower[1]) inside.push(x);
    });
    inside.sort((a, b) => a - b);
    for (let i = 0; i + 1 < inside.length; i += 2) fillRow(mask, y, inside[i], inside[i + 1]);
  }
}

/** Set the pixels whose centres lie within `radius` of the segment from `a` to `b`; return whether any has changed. */
export function paint(mask, a, b, radius, value) {
  const top = Math.max(0, Math.ceil(Math.min(a[1], b[1]) - radius));
  const bottom = Math.min(mask.height - 1, Math.floor(Math.max(a[1], b[1]) + radius));
  const left = Math.max(0, Math.ceil(Math.min(a[0], b[0]) - radius));
  const right = Math.min(mask.width - 1, Math.floor(Math.max(a[0], b[0]) + radius));
  const dx = b[0] - a[0], dy = b[1] - a[1], size = dx * dx + dy * dy;
  let changed = false;
  for (let y = top; y <= bottom; y += 1) {
    for (let x = left; x <= right; x += 1) {
      const part = size === 0 ? 0 : Math.max(0, Math.min(1, ((x - a[0]) * dx + (y - a[1]) * dy) / size));
      const ox = x - a[0] - part * dx, oy = y - a[1] - part * dy;
      const at = y * mask.width + x;
      if (ox * ox + oy * oy > radius * radius || mask.bits[at] === value) continue;
      mask.bits[at] = value;
      changed = true;
    }
  }
  return changed;
}

/** Closed outlines of a mask along the edges of its pixels, so at halves of pixels; holes run the other way round. */
export function outlines(mask) {
  const { width, height, bits } = mask;
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && bits[y * width + x] === 1;
  const edges = new Map();
  const stride = width + 1;
  const push = (x0, y0, x1, y1) => {
    const from = y0 * stride + x0;
    const list = edges.get(from);
    if (list) list.push(y1 * stride + x1);
    else edges.set(from, [y1 * stride + x1]);
  };
  for (let y = 0; y < height; y += 1) {
    for (let x = 0; x < width; x += 1) {
      if (!at(x, y)) continue;
      if (!at(x, y - 1)) push(x, y, x + 1, y);
      if (!at(x + 1, y)) push(x + 1, y, x + 1, y + 1);
      if (!at(x, y + 1)) push(x + 1, y + 1, x, y + 1);
      if (!at(x - 1, y)) push(x, y + 1, x, y);
    }
  }
  return [...chains(edges, stride)];
}

/** The PNG of a mask as base64 text. */
export function encoded(mask) {
  const canvas = new OffscreenCanvas(mask.width, mask.height);
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(mask.width, mask.height);
  const words = new Uint32Array(pixels.data.buffer);
  mask.bits.forEach((bit, i) => (words[i] = bit ? 0xffffffff : 0xff000000));
  context.putImageData(pixels, 0, 0);
  return canvas.convertToBlob({ type: "image/png" }).then(toBase64);
}

/** Remember the pixels that belong to a base64 text; the oldest ones are forgotten, but none of the open image's shapes. */
export function remember(text, mask) {
  known.set(text, { mask, lines: null });
  if (known.size <= KEPT) return;
  const inUse = new Set(edits.shapes.map((shape) => shape.mask)).add(text);
  for (const each of known.keys()) {
    if (known.size <= KEPT) break;
    if (!inUse.has(each)) known.delete(each);
  }
}

/** The pixels of a painted shape, or null where they have not been decoded yet. */
export function maskOf(shape) {
  return known.get(shape.mask)?.mask ?? null;
}

/** The outlines of a painted shape; none before it is decoded. */
export function outlinesOf(shape) {
  const entry = known.get(shape.mask);
  if (!entry) return [];
  entry.lines ??= outlines(entry.mask);
  return entry.lines;
}

/** Whether the pixels of all painted shapes among `shapes` are there. */
export function areDecoded(shapes) {
  return shapes.every((shape) => !shape.mask || known.has(shape.mask));
}

/** Decode the masks among `shapes`, as after a reload. */
export async function decode(shapes) {
  for (const shape of shapes) {
    if (!shape.mask || known.has(shape.mask)) continue;
    const bytes = Uint8Array.from(atob(shape.mask), (letter) => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const { data } = context.getImageData(0, 0, bitmap.width, bitmap.height);
    const mask = emptyMask(bitmap.width, bitmap.height);
    for (let i = 0; i < mask.bits.length; i += 1) mask.bits[i] = data[4 * i] >= 128 ? 1 : 0;
    remember(shape.mask, mask);
  }
}

function fillRow(mask, y, from, to) {
  const left = Math.max(0, Math.ceil(from - 1e-6)), right = Math.min(mask.width - 1, Math.floor(to + 1e-6));
  for (let x = left; x <= right; x += 1) mask.bits[y * mask.width + x] = 1;
}

function* chains(edges, stride) {
  const point = (corner) => [(corner % stride) - 0.5, Math.floor(corner / stride) - 0.5];
  for (const start of edges.keys()) {
    while (edges.get(start)?.length) {
      const chain = [];
      for (let corner = start; edges.get(corner)?.length; corner = edges.get(corner).pop()) chain.push(point(corner));
      yield withoutStraight(chain);
    }
  }
}

function withoutStraight(chain) {
  return chain.filter(([x, y], i) => {
    const [x0, y0] = chain[(i + chain.length - 1) % chain.length], [x1, y1] = chain[(i + 1) % chain.length];
    return !((x0 === x && x === x1) || (y0 === y && y === y1));
  });
}

function toBase64(blob) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.readAsDataURL(blob);
  });
}
