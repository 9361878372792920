/** Opening images: the next, the previous, those of the address; what comes next is loaded ahead. */

import * as api from "./api.js";
import { ask } from "./dialogs.js";
import { draftName, forget } from "./drafts.js";
import { edits, openItem, restore } from "./edits.js";
import { decode } from "./masks.js";
import { pending, settled } from "./outbox.js";
import * as picture from "./picture.js";
import { giveUp } from "./pointer.js";
import * as queue from "./queue.js";
import * as route from "./route.js";
import { setImageSize } from "./stage.js";
import { emit, frameOf, on, state, update } from "./state.js";

const KEPT = 30;
const answers = new Map();
let newest = 0;

/** Open an image. `index` is its place in the queue, -1 where unknown; `frame` is null for single images and for the chosen frame. */
export async function openById(id, frame = null, index = -1) {
  giveUp();
  newest += 1;
  const mine = newest;
  emit("opening", { id });
  await settled(id, frame);
  let item;
  try {
    item = await fetched(id, frame);
  } catch (error) {
    if (mine === newest) emit("not-opened");
    if (mine === newest) couldNotOpen(error, { id, frame, index });
    return;
  }
  if (mine !== newest) return;
  const isSame = state.item?.id === id;
  if (!isSame) picture.clear();
  const ownFrame = frameOf(item);
  route.show(id, ownFrame, index, isSame);
  update({ item, index, chosen: -1, handle: null, tool: "choose" });
  emit("hint", null);
  const draft = openItem(item);
  await decode(edits.shapes).catch(() => null);
  if (item.width) setImageSize(item.width, item.height); // shapes can be dragged before the picture is loaded
  emit("item");
  picture.show().catch((error) => emit("notice", { text: error.message, kind: "warning" }));
  if (draft) tellDraft(draft, item);
  if (item.isAhead) checkNewest(item, frame);
  queue.mark(id, { isUnsaved: edits.isChanged });
  loadAhead(index);
}

/** An image that was loaded ahead may have been saved elsewhere since. */
async function checkNewest(item, frame) {
  const newest = await api.item(item.id, frame).catch(() => null);
  if (newest && state.item === item && newest.version !== item.version && !edits.isChanged) await openAgain();
}

/** Load the open image anew from the server. */
export function openAgain() {
  const { item, index } = state;
  answers.delete(draftName(item.id, frameOf(item)));
  return openById(item.id, frameOf(item), index);
}

/** Open the image `step` places further in the queue. */
export async function openBy(step) {
  const index = state.index + step;
  if (index < 0 || index >= queue.total()) {
    return emit("notice", { text: step > 0 ? "This is the last image of the list." : "This is the first image of the list.", kind: "info" });
  }
  return openIndex(index);
}

export async function openIndex(index) {
  const item = await queue.at(index).catch(() => null);
  if (item) await openById(item.id, null, index);
  else emit("notice", { text: "The next images cannot be loaded until the server is back.", kind: "warning" });
}

/** Open the next image that nobody has decided on; where all are decided, say so. */
export async function openNext() {
  const index = await queue.nextOpen(state.index).catch(() => -2);
  if (index >= 0) return openIndex(index);
  if (index === -2) return emit("notice", { text: "The next images cannot be loaded until the server is back.", kind: "warning" });
  emit("item");
  return emit("notice", { text: "All images of this list are reviewed.", kind: "done" });
}

/** Open what the address names, or the first image that is open. */
export async function openFromAddress(place = route.current()) {
  const { id, frame, index } = place;
  if (id === null) {
    const first = await queue.nextOpen(-1);
    if (queue.total()) await openIndex(Math.max(first, 0));
    else emit("empty");
    return;
  }
  const known = await queue.indexOf(id, index).catch(() => -1);
  await openById(id, frame, known);
}

async function fetched(id, frame) {
  const name = draftName(id, frame);
  const ahead = answers.get(name);
  answers.delete(name);
  try {
    const item = await (ahead ?? api.item(id, frame));
    // While the server is away an image that was loaded ahead can be opened; otherwise it is only used once.
    if (api.connection === "lost") answers.set(name, Promise.resolve(item));
    else if (pending(id, frame)) item.decision = pending(id, frame).body.decision;
    item.isAhead = ahead !== undefined;
    return item;
  } catch (error) {
    if (ahead === undefined) throw error;
    return api.item(id, frame);
  }
}

/** The neighbours in the queue open at once, also while the server is away. */
async function loadAhead(index) {
  if (index < 0) return;
  for (const place of [index + 1, index + 2, index - 1]) {
    const next = await queue.at(place).catch(() => null);
    if (!next || api.connection !== "ok") continue;
    const name = draftName(next.id, null);
    const answer = api.item(next.id, null);
    answer.catch(() => answers.delete(name));
    answers.delete(name);
    answers.set(name, answer);
    if (answers.size > KEPT) answers.delete(answers.keys().next().value);
    answer.then((item) => picture.load(item.id, state.enhanced ? "enhanced" : "original", frameOf(item))).catch(() => null);
    await answer.catch(() => null);
  }
}

async function tellDraft(draft, item) {
  const when = new Date(draft.time).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
  const isWaiting = pending(item.id, frameOf(item));
  if (draft.version === item.version || isWaiting) {
    if (!isWaiting && edits.isChanged) emit("notice", { text: `Unsaved changes of ${when} were restored.`, kind: "info", action: { text: "Discard", run: () => emit("discard") } });
    return;
  }
  const answer = await ask({
    title: "This image was saved meanwhile",
    text: [`${item.name}: you have unsaved changes of ${when}, and a newer version was saved since.`, "Your changes can still be undone when you restore them."],
    buttons: [{ value: "mine", text: "Restore my changes" }, { value: "theirs", text: "Show what was saved", isMain: true }],
  });
  if (state.item !== item) return;
  if (answer.button === "mine") restore(draft);
  else forget("draft", draftName(item.id, frameOf(item)));
}

function couldNotOpen(error, place) {
  if (error instanceof api.NoConnection || error.status === 401) {
    emit("notice", { text: "This image cannot be loaded until the server is back.", kind: "warning" });
    const again = (now) => now === "ok" && place !== null && (openById(place.id, place.frame, place.index), place = null);
    on("connection", again);
    on("item", () => (place = null));
    return;
  }
  emit("notice", { text: error.message, kind: "warning" });
}
