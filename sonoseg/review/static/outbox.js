/** Decisions on their way to the server: kept by the browser, sent in order, sent again once the server is back. */

import * as api from "./api.js";
import { all, forget, keep } from "./drafts.js";
import { emit, on } from "./state.js";

const KIND = "decision";
/** Each {name, id, frame, label, body}, oldest first; `name` is its key in the browser's storage. */
let waiting = [];
let sending = null;
let count = 0;

/** Take up what an earlier page could not send. */
export function restore() {
  waiting = all(KIND).map(({ name, value }) => ({ ...value, name }));
  on("connection", (now) => now === "ok" && send());
  send();
}

/** Send a decision; an earlier one on the same image that has not left yet is replaced. */
export function post(entry) {
  const earlier = waiting.find((each) => isSame(each, entry) && each !== sending);
  if (earlier) drop(earlier);
  count += 1;
  const named = { ...entry, name: `${Date.now()}-${count}` };
  keep(KIND, named.name, named);
  waiting.push(named);
  emit("outbox", waiting.length);
  send();
}

/** The decision on an image that has not arrived yet, or null. */
export function pending(id, frame) {
  return waiting.findLast((entry) => isSame(entry, { id, frame })) ?? null;
}

export const numberWaiting = () => waiting.length;

/** Wait until nothing is being sent, at most some seconds. */
export async function settled(id, frame, milliseconds = 3000) {
  const end = Date.now() + milliseconds;
  while (sending?.id === id && (frame === null || sending.frame === frame) && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
}

async function send() {
  if (sending) return;
  const delayed = [];
  const next = () => waiting.find((entry) => !delayed.some((each) => isSame(each, entry)));
  while (api.connection === "ok" && (sending = next() ?? null)) {
    try {
      const answer = await api.review(sending.id, sending.body);
      for (const later of waiting) {
        if (later !== sending && isSame(later, sending)) later.body.base_version = answer.version;
      }
      finish("saved", { entry: sending, answer });
    } catch (error) {
      if (error instanceof api.NoConnection || error.status === 401) break;
      if (error.status === 503) {
        delayed.push(sending);
        tellOnce(sending, error);
      } else finish(error.status === 409 ? "conflict" : "refused", { entry: sending, error });
    }
  }
  sending = null;
  emit("outbox", waiting.length);
  if (waiting.length && api.connection === "ok") setTimeout(send, 2000);
}

/** Say why the server cannot save a decision at the moment; it is sent again until it can. */
function tellOnce(entry, error) {
  if (entry.isTold) return;
  entry.isTold = true;
  emit("notice", { text: `${entry.label} is not saved yet: ${error.message}. It is kept in this browser and sent again.`, kind: "warning" });
}

function finish(event, detail) {
  drop(detail.entry);
  sending = null;
  emit(event, detail);
}

function drop(entry) {
  waiting = waiting.filter((each) => each !== entry);
  forget(KIND, entry.name);
}

const isSame = (a, b) => a.id === b.id && a.frame === b.frame;
