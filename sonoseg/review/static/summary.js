/** What was found in the image, in plain words: status, its reasons, expected Dice, and the spacing. */

import { byId, el, icon, setText } from "./dom.js";
import { edits } from "./edits.js";
import { measured } from "./measurements.js";
import { hasOwnSpacing, on, state } from "./state.js";

const WORDS = {
  ok: "No remark", check: "Please check", reject: "Probably not usable", failed: "Could not be processed",
  waiting: "Not segmented yet",
};
const ICONS = { ok: "check", check: "warning", reject: "cross", failed: "cross" };
const DECISIONS = { open: "Not reviewed yet", accepted: "Accepted", corrected: "Corrected", rejected: "Image rejected" };

export function listen() {
  on("item shapes measured", render);
}

export const statusIcon = (status) => ICONS[status] ?? "info";
export const decisionText = (decision) => DECISIONS[decision] ?? decision;

function render() {
  const { item } = state;
  byId("summary").hidden = !item;
  if (!item) return;
  setText(byId("image-name"), item.name);
  byId("image-name").title = item.name;
  const badge = byId("status");
  badge.dataset.status = item.status ?? "";
  badge.replaceChildren(...(item.status ? [icon(statusIcon(item.status)), el("span", { text: WORDS[item.status] ?? item.status })] : []));
  badge.hidden = !item.status;
  const reasons = measured.reasons && edits.isCorrected ? measured.reasons : item.reasons ?? [];
  byId("reasons").replaceChildren(...reasons.map((reason) => el("li", { text: reason })));
  byId("reasons-note").hidden = !(reasons.length && measured.reasons && edits.isCorrected);
  renderQuality(item);
  const isUnsaved = edits.isChanged;
  setText(byId("decision"), isUnsaved ? "Unsaved changes" : decisionText(item.decision));
  byId("decision").dataset.decision = isUnsaved ? "unsaved" : item.decision;
  setText(byId("spacing"), spacingText(item));
  byId("spacing-unknown").hidden = Boolean(edits.spacing);
}

function renderQuality({ quality }) {
  const has = quality !== null && quality !== undefined;
  byId("quality").hidden = !has;
  if (!has) return;
  setText(byId("quality-value"), quality.toFixed(2));
  byId("quality-bar").style.setProperty("--part", Math.max(0, Math.min(1, quality)));
}

function spacingText(item) {
  if (!edits.spacing) return "Size of a pixel unknown";
  const { row, col } = edits.spacing;
  const size = Math.abs(row - col) < 1e-9 ? `${col.toFixed(4)} mm` : `${row.toFixed(4)} × ${col.toFixed(4)} mm`;
  const from = hasOwnSpacing(item) ? item.spacing_from : "calibrated by a reviewer";
  return `Pixel ${size} (${from})`;
}
