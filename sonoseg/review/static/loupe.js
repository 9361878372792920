/** While a handle is dragged: its surroundings, enlarged, in the corner that is furthest away from it. */

import { byId } from "./dom.js";
import { edits } from "./edits.js";
import { KINDS, outlineOf } from "./kinds.js";
import { shownCanvas } from "./picture.js";
import { onImage, toScreen, view } from "./stage.js";
import { colourOf, on, state } from "./state.js";

const SIZE = 168, LEAST_FACTOR = 2.5, LEAST_ZOOM = 6;

export function listen() {
  on("dragging", show);
}

function show(detail) {
  const canvas = byId("loupe");
  const source = shownCanvas();
  // Enlarging what is large already would help nobody.
  canvas.hidden = !detail?.point || !source || view.zoom > 12 || detail.role === "centre";
  if (canvas.hidden) return;
  const { x, y } = detail.point;
  const [left, top] = toScreen([x, y]);
  const box = byId("stage");
  canvas.dataset.corner = `${top < box.clientHeight / 2 ? "bottom" : "top"}-${left < box.clientWidth / 2 ? "right" : "left"}`;
  draw(canvas, source, [x, y]);
}

function draw(canvas, source, [x, y]) {
  const ratio = devicePixelRatio;
  canvas.width = canvas.height = SIZE * ratio;
  const zoom = Math.max(LEAST_ZOOM, view.zoom * LEAST_FACTOR);
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.translate(SIZE / 2 - x * zoom, SIZE / 2 - y * zoom);
  context.scale(zoom, zoom);
  context.imageSmoothingEnabled = false;
  context.drawImage(source, -0.5, -0.5);
  for (const shape of edits.shapes) {
    if (!shape.points || state.hidden.has(shape.structure)) continue;
    context.beginPath();
    outlineOf(shape).forEach(([px, py], i) => (i ? context.lineTo(px, py) : context.moveTo(px, py)));
    if (KINDS[shape.kind].closed) context.closePath();
    context.lineWidth = 1.25 / zoom;
    context.strokeStyle = colourOf(shape.structure);
    context.stroke();
  }
  cross(context, x, y, zoom);
}

function cross(context, x, y, zoom) {
  const [near, far] = [4 / zoom, 14 / zoom];
  for (const [width, style] of [[3 / zoom, "rgba(0, 0, 0, 0.6)"], [1.25 / zoom, "#ffffff"]]) {
    context.lineWidth = width;
    context.strokeStyle = style;
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(x + dx * near, y + dy * near);
      context.lineTo(x + dx * far, y + dy * far);
    }
    context.stroke();
  }
}

on("view", () => (byId("loupe").hidden ||= onImage(1) < 1 / 12));
