/**
 * The shapes of the open image while they are corrected: every change is a step of undo, and kept by the browser at once.
 *
 * A value is {shapes, notVisible, spacing}; it is replaced, never changed in place.
 */

import { draftName, forget, keep, kept } from "./drafts.js";
import { History } from "./history.js";
import { emit, frameOf, state, update } from "./state.js";

const KEPT_HISTORIES = 100;
const histories = new Map();
let history = new History({ shapes: [], notVisible: [], spacing: null });
let opened = null;
let before = null;
let storageIsFull = false;

export const edits = {
  get shapes() {
    return history.value.shapes;
  },
  get notVisible() {
    return history.value.notVisible;
  },
  /** {row, col} in millimetres per pixel, or null. */
  get spacing() {
    return history.value.spacing;
  },
  note: "",
  get chosenShape() {
    return history.value.shapes[state.chosen] ?? null;
  },
  /** Whether something differs from what the server has. */
  get isChanged() {
    return opened !== null && (!same(history.value, opened.value) || edits.note !== opened.note);
  },
  /** Whether shapes, visibility or spacing differ from what the server has. */
  get isCorrected() {
    return opened !== null && !same(history.value, opened.value);
  },
  get canUndo() {
    return history.past.length > 0;
  },
  get canRedo() {
    return history.future.length > 0;
  },
};

/** Begin with an image as the server sent it. Unsaved work of the same version is restored; returns it, or null. */
export function openItem(item) {
  const value = { shapes: item.shapes, notVisible: item.not_visible, spacing: item.spacing_mm ?? null };
  opened = { id: item.id, frame: frameOf(item), version: item.version, value, note: item.note ?? "" };
  before = null;
  const draft = kept("draft", name());
  const earlier = histories.get(name());
  const isNewest = earlier && earlier.version === item.version;
  history = isNewest ? earlier.history : new History(value);
  edits.note = opened.note;
  if (draft && draft.version === item.version) restore(draft);
  remember();
  emit("shapes");
  return draft;
}

/** Take unsaved work up, as one step that can be undone where it is not the newest state already. */
export function restore(draft) {
  if (!same(draft.value, history.value)) history.push(draft.value, "restore unsaved changes");
  edits.note = draft.note;
  keepDraft();
  emit("shapes");
}

/** Change the value by `fields` of it, as one step of undo; `text` says what was done. */
export function change(fields, text) {
  if (before !== null) cancel();
  history.push({ ...history.value, ...fields }, text);
  changed();
}

/** Change it for the time of a drag: many positions, one step. */
export function live(fields) {
  before ??= history.value;
  history.value = { ...history.value, ...fields };
  emit("shapes", { live: true });
}

/** End of a drag. */
export function commit(text) {
  if (before === null) return;
  const value = history.value;
  history.value = before;
  before = null;
  if (value !== history.value) history.push(value, text);
  changed();
}

/** A drag that is given up. */
export function cancel() {
  if (before === null) return;
  history.value = before;
  before = null;
  emit("shapes");
}

/** Replace the shape at `index`; null removes it. */
export function withShape(index, shape) {
  const shapes = edits.shapes.slice();
  if (shape === null) shapes.splice(index, 1);
  else shapes[index] = shape;
  return { shapes };
}

export function undo() {
  return step(history.undo());
}

export function redo() {
  return step(history.redo());
}

export function setNote(text) {
  edits.note = text;
  keepDraft();
  emit("note");
}

/** Give unsaved changes up: what the server has is shown again. */
export function discard() {
  if (edits.isCorrected) history.push(opened.value, "discard changes");
  edits.note = opened.note;
  forget("draft", name());
  emit("shapes");
}

/** What is sent with a decision. */
export function content() {
  const { shapes, notVisible, spacing } = history.value;
  return { frame: opened.frame, base_version: opened.version, shapes, not_visible: notVisible, spacing_mm: spacing, note: edits.note };
}

/** The server has saved the work on an image: it is no longer unsaved. `stored`: shapes as they are stored; masks have become outlines. */
export function wasSaved(id, frame, version, body, stored = body.shapes) {
  forget("draft", draftName(id, frame));
  const entry = histories.get(draftName(id, frame));
  if (entry) {
    entry.version = version;
    const { value } = entry.history;
    if (same(value.shapes, body.shapes)) entry.history.value = { ...value, shapes: stored };
  }
  if (opened?.id !== id || opened.frame !== frame) return;
  opened.version = version;
  opened.value = { shapes: stored, notVisible: body.not_visible, spacing: body.spacing_mm };
  opened.note = body.note;
  keepDraft();
  emit("shapes");
}

/** Give the work on an image up: it begins again with `item`, as the server has it, or as it is read next (null). */
export function giveUpWork(id, frame, item) {
  forget("draft", draftName(id, frame));
  histories.delete(draftName(id, frame));
  if (item && opened?.id === id && opened.frame === frame) openItem(item);
}

/** What happens when the browser cannot keep unsaved work, once. */
function keepDraft() {
  if (!edits.isChanged) return forget("draft", name());
  const isKept = keep("draft", name(), { version: opened.version, value: history.value, note: edits.note });
  if (!isKept && !storageIsFull) emit("notice", { text: "The browser's storage is full: unsaved changes are lost when this tab is closed.", kind: "warning" });
  storageIsFull = !isKept;
}

function changed() {
  keepDraft();
  if (state.chosen >= edits.shapes.length) update({ chosen: -1, handle: null });
  emit("shapes");
}

function step(text) {
  if (text === null) return null;
  before = null;
  update({ handle: null });
  changed();
  return text;
}

function remember() {
  histories.delete(name());
  histories.set(name(), { history, version: opened.version });
  if (histories.size > KEPT_HISTORIES) histories.delete(histories.keys().next().value);
}

const name = () => draftName(opened.id, opened.frame);
const same = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);
