/** Loops: the frame slider, playing, and the curve of a measurement over the frames. */

import * as api from "./api.js";
import { byId, el, setText } from "./dom.js";
import { unitOf } from "./measurements.js";
import { openById } from "./open.js";
import { emit, on, state } from "./state.js";

const FRAME_MS = 120;
let loaded = { id: null, data: null };
let wanted = null;
let isOpening = false;
let playing = null;

export function listen() {
  byId("frame").addEventListener("input", (event) => toFrame(Number(event.target.value)));
  byId("play").addEventListener("click", play);
  byId("curve-choice").addEventListener("change", draw);
  byId("curve").addEventListener("pointerdown", (event) => toFrame(frameAt(event)));
  byId("curve").addEventListener("pointermove", (event) => event.buttons & 1 && toFrame(frameAt(event)));
  new ResizeObserver(draw).observe(byId("curve"));
  on("item", show);
}

/** Open the frame `step` further. */
export function stepFrame(step) {
  const { item } = state;
  if (item?.frames > 1) toFrame(Math.max(1, Math.min(item.frames, (wanted ?? item.frame) + step)));
}

/** Play the loop, or stop it. */
export function play() {
  if (playing) {
    clearInterval(playing);
    playing = null;
  } else if (state.item?.frames > 1) {
    playing = setInterval(() => {
      const { item } = state;
      if (!(item?.frames > 1)) play();
      else if (!isOpening) toFrame((item.frame % item.frames) + 1);
    }, FRAME_MS);
  }
  setText(byId("play"), playing ? "Stop" : "Play");
}

/** One frame is opened at a time; the newest that was asked for wins. */
async function toFrame(frame) {
  wanted = frame;
  if (isOpening) return;
  isOpening = true;
  while (wanted !== null) {
    const next = wanted;
    wanted = null;
    if (state.item && next !== state.item.frame) await openById(state.item.id, next, state.index);
  }
  isOpening = false;
}

async function show() {
  const { item } = state;
  const isLoop = item?.frames > 1;
  if (!isLoop && playing) play();
  byId("series").hidden = !isLoop;
  if (!isLoop) return;
  const slider = byId("frame");
  slider.max = item.frames;
  slider.value = item.frame;
  if (loaded.id !== item.id) await load(item);
  const seconds = loaded.id === item.id ? loaded.data?.seconds?.[item.frame - 1] : null;
  const text = `Frame ${item.frame} of ${item.frames}${typeof seconds === "number" ? `, ${seconds.toFixed(2)} s` : ""}`;
  slider.setAttribute("aria-valuetext", text);
  setText(byId("frame-text"), text);
  draw();
}

async function load(item) {
  loaded = { id: item.id, data: null };
  byId("curve-box").hidden = true;
  const data = await api.series(item.id).catch((error) => {
    if (error.status !== 404) emit("notice", { text: error.message, kind: "warning" });
    return null;
  });
  if (loaded.id !== item.id) return;
  loaded.data = data;
  byId("curve-box").hidden = data === null;
  if (data === null) return;
  const curves = curvesOf(data);
  const before = byId("curve-choice").value;
  byId("curve-choice").replaceChildren(...curves.map(({ key, label, unit }) => el("option", { value: key, text: unit ? `${label} (${unitOf({ key, unit })})` : label })));
  if (curves.some(({ key }) => key === before)) byId("curve-choice").value = before;
}

function curvesOf({ curves, quality }) {
  const has = quality?.some((value) => value !== null);
  return [...curves, ...(has ? [{ key: "quality", label: "Expected Dice", unit: "", values: quality }] : [])];
}

function frameAt(event) {
  const box = byId("curve").getBoundingClientRect();
  const part = (event.clientX - box.left - EDGE.left) / (box.width - EDGE.left - EDGE.right);
  return Math.round(1 + Math.max(0, Math.min(1, part)) * (state.item.frames - 1));
}

/** Numbers at the axis: three digits, areas of many pixels as 127K. */
const SHORT = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });
const EDGE = { left: 44, right: 8, top: 8, bottom: 8 };

function draw() {
  const canvas = byId("curve");
  const { data } = loaded;
  if (!data || byId("series").hidden || !canvas.clientWidth || !(state.item?.frames > 1)) return;
  const curve = curvesOf(data).find(({ key }) => key === byId("curve-choice").value);
  const [width, height] = [canvas.clientWidth, canvas.clientHeight];
  [canvas.width, canvas.height] = [width * devicePixelRatio, height * devicePixelRatio];
  const context = canvas.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  const values = curve?.values.filter((value) => value !== null) ?? [];
  if (!values.length) return;
  const [low, high] = range(values);
  const x = (frame) => EDGE.left + ((frame - 1) / (data.frames - 1)) * (width - EDGE.left - EDGE.right);
  const y = (value) => height - EDGE.bottom - ((value - low) / (high - low)) * (height - EDGE.top - EDGE.bottom);
  drawScale(context, { low, high, y, width });
  context.strokeStyle = "#7db4ff";
  context.lineWidth = 1.5;
  context.beginPath();
  curve.values.forEach((value, i) => {
    if (value === null) return;
    if (i === 0 || curve.values[i - 1] === null) context.moveTo(x(i + 1), y(value));
    else context.lineTo(x(i + 1), y(value));
    if ((curve.values[i - 1] ?? null) === null && (curve.values[i + 1] ?? null) === null) context.rect(x(i + 1) - 0.5, y(value) - 0.5, 1, 1);
  });
  context.stroke();
  context.fillStyle = "#ffffff";
  context.fillRect(x(state.item.frame) - 0.5, 0, 1, height);
  const now = curve.values[state.item.frame - 1];
  if (now === null) return;
  context.beginPath();
  context.arc(x(state.item.frame), y(now), 3.5, 0, 2 * Math.PI);
  context.fill();
}

function range(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const spare = (high - low) * 0.08 || Math.abs(high) * 0.05 || 1;
  return [low - spare, high + spare];
}

function drawScale(context, { low, high, y, width }) {
  context.font = "11px system-ui, sans-serif";
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const part of [0.12, 0.5, 0.88]) {
    const value = low + part * (high - low);
    context.fillStyle = "#a9adb3";
    context.fillText(SHORT.format(value), EDGE.left - 6, y(value));
    context.fillStyle = "#2e3033";
    context.fillRect(EDGE.left, Math.round(y(value)), width - EDGE.left - EDGE.right, 1);
  }
}
