/** Measurements of the shapes: asked from the server while a shape is dragged, one request at a time, the newest position wins. */

import * as api from "./api.js";
import { byId, el } from "./dom.js";
import { edits } from "./edits.js";
import { emit, frameOf, on, state } from "./state.js";

/** `list` of measurements as the server sends them, `reasons` for the shapes as they are now, or null; `fault` where it refused. */
export const measured = { list: [], reasons: null, fault: "", isWaiting: false };
let isAsking = false;
let isNew = false;
let lastAsked = null;
let begun = null;

export function listen() {
  on("item", begin);
  on("shapes", ask);
  on("measured", render);
  on("connection", (now) => now === "ok" && state.item && (lastAsked = null, ask()));
}

/** What the server has said of the shapes as it has them; restored work is asked for. */
function begin() {
  begun = state.item;
  Object.assign(measured, { list: begun?.measurements ?? [], reasons: null, fault: "", isWaiting: false });
  lastAsked = begun && keyOf(begun.shapes, begun.spacing_mm ?? null);
  emit("measured");
  ask();
}

/** Ask for the shapes as they are now, unless they were the last that were asked for. */
function ask() {
  if (!state.item || state.item !== begun || key() === lastAsked) return;
  isNew = true;
  if (!isAsking) send();
}

async function send() {
  isAsking = true;
  while (isNew) {
    isNew = false;
    const { item } = state;
    lastAsked = key();
    const body = { frame: frameOf(item), shapes: edits.shapes, spacing_mm: edits.spacing };
    measured.isWaiting = true;
    try {
      const answer = await api.measure(item.id, body);
      if (state.item === item) Object.assign(measured, { list: answer.measurements, reasons: answer.reasons ?? null, fault: "" });
    } catch (error) {
      const isAway = error instanceof api.NoConnection;
      if (isAway) lastAsked = null;
      else if (state.item === item) measured.fault = error.message;
    }
    measured.isWaiting = isNew;
    if (state.item === item) emit("measured");
    if (!state.item) break;
  }
  isAsking = false;
}

function render() {
  const box = byId("measurements");
  box.setAttribute("aria-busy", measured.isWaiting);
  const before = new Map((state.item?.measurements ?? []).map((each) => [each.key, each]));
  const rows = measured.list.map((each) => row(each, before.get(each.key)));
  const fault = measured.fault && el("p", { class: "fault", text: measured.fault });
  const none = el("p", { class: "quiet", text: state.item ? "This task takes no measurements." : "" });
  box.replaceChildren(...(fault ? [fault] : []), rows.length ? el("ul", {}, rows) : none);
}

function row(one, before) {
  const isMissing = !isNumber(one.value);
  const hasChanged = Boolean(before) && !isMissing && !(isNumber(before.value) && withUnit(before.value, before) === withUnit(one.value, one));
  const interval = !isMissing && isNumber(one.low) && isNumber(one.high) && `90 % interval ${number(one.low, one)} to ${withUnit(one.high, one)}`;
  const was = hasChanged && (isNumber(before.value) ? `was ${withUnit(before.value, before)}` : "was not measured");
  const remarks = [was, interval, one.note].filter(Boolean).map((text) => el("span", { class: "remark", text }));
  return el("li", { class: isMissing ? "missing" : "", data: { key: one.key } },
    el("span", { class: "label", text: one.label }),
    el("span", { class: hasChanged ? "value changed" : "value", text: isMissing ? "not measured" : withUnit(one.value, one) }), remarks);
}

const isNumber = (value) => typeof value === "number";
/** The symbol of the unit of a measurement. */
export const unitOf = (one) => state.session.measurements.find((each) => each.key === one.key)?.unit ?? one.unit;
const withUnit = (value, one) => `${number(value, one)}${unitOf(one) === "°" ? "" : " "}${unitOf(one)}`;

function number(value, one) {
  const text = value.toFixed(state.session.measurements.find((each) => each.key === one.key)?.digits ?? 1);
  return text.replace("-", "\u2212");
}

const keyOf = (shapes, spacing) => JSON.stringify([state.item.id, state.item.frame, shapes, spacing]);
const key = () => keyOf(edits.shapes, edits.spacing);
