/** Accept, corrected, reject image, and take back: what is sent, what opens next, and what happens when somebody else was first. */

import * as api from "./api.js";
import { strokesKept } from "./brush.js";
import { ask } from "./dialogs.js";
import { draftName, keep } from "./drafts.js";
import { change, content, edits, giveUpWork, wasSaved } from "./edits.js";
import { distance } from "./points.js";
import { openAgain, openById, openNext } from "./open.js";
import { post } from "./outbox.js";
import { mark } from "./queue.js";
import { emit, frameOf, hasOwnSpacing, on, state, update } from "./state.js";
import { decisionText } from "./summary.js";

export function listen() {
  on("saved", saved);
  on("conflict", conflict);
  on("refused", refused);
}

/** Decide on the open image, and open the next one that nobody has decided on. */
export async function decide(wanted) {
  const { item, session } = state;
  if (!item) return;
  if (session.read_only) return emit("notice", { text: "The results cannot be written: nothing can be saved here.", kind: "warning" });
  await strokesKept();
  if (state.item !== item) return;
  const decision = honest(wanted);
  if (!decision) return;
  const body = { ...content(), decision };
  keep("draft", draftName(item.id, body.frame), { version: item.version, value: { shapes: body.shapes, notVisible: body.not_visible, spacing: body.spacing_mm }, note: body.note });
  const entry = { id: item.id, frame: body.frame, label: item.name, index: state.index, body };
  item.decision = decision;
  mark(item.id, { decision, isSending: true });
  post(entry);
  const goBack = { text: "Back to it", run: () => openById(entry.id, entry.frame, entry.index) };
  emit("shapes");
  if (decision === "open") return null;
  emit("notice", { text: `${item.name}: ${decisionText(decision).toLowerCase()}`, kind: "done", action: goBack });
  await openNext();
}

/** Accepted means as predicted, corrected that something differs; "" where the key does not fit and a notice says why. */
function honest(wanted) {
  if (wanted !== "accepted" && wanted !== "corrected") return wanted;
  const { item, session } = state;
  if (session.blind) return "corrected";
  const differs = edits.notVisible.length > 0 || !sameShapes(edits.shapes, item.predicted ?? item.shapes) || (edits.spacing !== null && !hasOwnSpacing(item));
  if (wanted === "accepted" && differs) {
    emit("notice", { text: "The shapes differ from the prediction, so this was saved as corrected.", kind: "info" });
    return "corrected";
  }
  if (wanted === "corrected" && !differs) {
    emit("notice", { text: "Nothing was changed. Press A to accept the image as it is, or correct a shape first.", kind: "info" });
    return "";
  }
  return wanted;
}


/** Show what the model has found again, as a step that can be undone. */
export function resetToPrediction() {
  const { predicted } = state.item ?? {};
  if (!predicted) return;
  update({ chosen: -1, handle: null });
  change({ shapes: predicted, notVisible: [] }, "take the prediction");
}

function saved({ entry, answer }) {
  if (state.item?.id === entry.id && frameOf(state.item) === entry.frame) {
    Object.assign(state.item, { version: answer.version, decision: answer.decision });
  }
  wasSaved(entry.id, entry.frame, answer.version, entry.body, answer.shapes);
  for (const text of answer.remarks ?? []) emit("notice", { text: `${entry.label}: ${text}`, kind: "info" });
  mark(entry.id, { decision: answer.decision, version: answer.version, isSending: false, reviewer: state.session.reviewer, structures: namesOf(entry.body.shapes) });
  if (answer.counts) emit("counts", answer.counts);
}

async function conflict({ entry, error }) {
  const { reviewer, time } = error.body;
  mark(entry.id, { isSending: false });
  const theirs = await api.item(entry.id, entry.frame).catch(() => null);
  const when = time ? new Date(time).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" }) : "";
  const isSelf = reviewer === state.session.reviewer;
  const who = isSelf ? `it was saved as ${reviewer}, in another tab or window` : `${reviewer || "somebody"} saved it`;
  const answer = await ask({
    title: isSelf ? "Saved elsewhere meanwhile" : "Somebody else was first",
    text: [
      `${entry.label}: ${who}${when ? ` at ${when}` : ""}, after you had opened it here.`,
      theirs && `Saved there: ${decisionText(theirs.decision).toLowerCase()}. Yours: ${decisionText(entry.body.decision).toLowerCase()}.`,
      theirs && differences(entry.body, theirs),
      "If you keep yours, both stay in the log, and yours counts.",
    ],
    buttons: [
      { value: "mine", text: "Keep mine" },
      { value: "theirs", text: "Take theirs" },
      { value: "later", text: "Later" },
    ],
  });
  if (answer.button === "later") return mark(entry.id, { decision: theirs?.decision ?? "open", isUnsaved: true });
  if (answer.button === "mine") {
    mark(entry.id, { isSending: true });
    return post({ ...entry, body: { ...entry.body, base_version: error.body.version ?? theirs?.version } });
  }
  giveUpWork(entry.id, entry.frame, theirs);
  if (theirs) mark(entry.id, { decision: theirs.decision, version: theirs.version, reviewer, isUnsaved: false });
  return state.item?.id === entry.id && frameOf(state.item) === entry.frame ? openAgain() : null;
}

async function refused({ entry, error }) {
  const now = await api.item(entry.id, entry.frame).catch(() => null);
  const decision = now?.decision ?? "open";
  mark(entry.id, { decision, isSending: false, isUnsaved: true });
  if (state.item?.id === entry.id && frameOf(state.item) === entry.frame) state.item.decision = decision;
  emit("notice", {
    text: `${entry.label} was not saved: ${error.message}`, kind: "warning",
    action: { text: "Open it", run: () => openById(entry.id, entry.frame, entry.index) },
  });
}

/** How far two versions are apart, structure by structure, in one sentence. */
function differences(mine, theirs) {
  const parts = state.session.structures.map(({ name }) => {
    const [a, b] = [mine, theirs].map(({ shapes }) => shapes.filter((shape) => shape.structure === name));
    if (!a.length && !b.length) return "";
    if (!a.length || !b.length) return `${name} is only in ${a.length ? "yours" : "theirs"}`;
    if (JSON.stringify(a) === JSON.stringify(b)) return "";
    const [one, other] = [a[0].points, b[0].points];
    if (!one || !other || one.length !== other.length) return `${name} differs`;
    const furthest = Math.max(...one.map((point, i) => distance(point, other[i])));
    return `${name} differs by up to ${furthest.toFixed(1)} px`;
  }).filter(Boolean);
  return parts.length ? `${parts.join("; ")}.` : "The shapes are the same.";
}

function sameShapes(a, b) {
  const sorted = (shapes) => JSON.stringify(shapes.map((shape) => [shape.structure, shape.kind, shape.mask ?? shape.points]).sort((x, y) => (JSON.stringify(x) < JSON.stringify(y) ? -1 : 1)));
  return sorted(a) === sorted(b);
}

const namesOf = (shapes) => [...new Set(shapes.map((shape) => shape.structure))];
