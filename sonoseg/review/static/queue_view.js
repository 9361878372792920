/** The list at the left: only the rows in sight exist. Filters and counts above it. */

import { thumbnailPath } from "./api.js";
import { byId, el, icon, setText } from "./dom.js";
import { openIndex } from "./open.js";
import * as queue from "./queue.js";
import { emit, on, state } from "./state.js";
import { statusIcon } from "./summary.js";

const ROW = 68, SPARE = 3;
const STATUS = { ok: "OK", check: "Check", reject: "Reject", failed: "Failed", waiting: "Not segmented yet" };
const DECISION_ICON = { accepted: "check", corrected: "pencil", rejected: "cross" };
const rows = new Map();

export function listen() {
  const list = byId("list");
  list.addEventListener("scroll", render, { passive: true });
  list.addEventListener("click", (event) => {
    const row = event.target.closest("[role=option]");
    if (!row) return;
    openIndex(Number(row.dataset.index));
    byId("stage").focus({ preventScroll: true });
  });
  new ResizeObserver(render).observe(list);
  on("queue", render);
  on("item", () => (render(), showOpen()));
  on("counts", tellCounts);
}

/** Fill the filters with what the session has, and listen to them. */
export function buildFilters() {
  const { structures, patients = [] } = state.session;
  choices("filter-structure", structures.map(({ name }) => [name, `Found: ${name}`]));
  choices("filter-patient", patients.map((name) => [name, name]));
  byId("filter-patient").hidden = byId("filter-patient-label").hidden = patients.length === 0;
  for (const name of Object.keys(queue.filters)) {
    byId(`filter-${name}`).addEventListener("change", async (event) => {
      queue.filters[name] = event.target.value;
      await queue.reload().catch((error) => emit("notice", { text: error.message, kind: "warning" }));
      byId("list").scrollTop = 0;
      if (queue.total()) openIndex(0);
    });
  }
}

function choices(id, values) {
  byId(id).append(...values.map(([value, text]) => el("option", { value, text })));
}

function render() {
  const list = byId("list");
  const number = queue.total();
  byId("rows").style.height = `${number * ROW}px`;
  byId("list-empty").hidden = number > 0;
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - SPARE);
  const last = Math.min(number, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + SPARE);
  for (const [index, row] of rows) {
    if (index >= first && index < last) continue;
    row.remove();
    rows.delete(index);
  }
  for (let index = first; index < last; index += 1) draw(index, queue.peek(index), number);
  const open = state.index >= 0 ? `row-${state.index}` : "";
  if (open && rows.has(state.index)) list.setAttribute("aria-activedescendant", open);
  else list.removeAttribute("aria-activedescendant");
}

function draw(index, item, number) {
  let row = rows.get(index);
  if (!row) {
    row = el("div", { role: "option", id: `row-${index}`, data: { index }, style: { top: `${index * ROW}px` } });
    byId("rows").append(row);
    rows.set(index, row);
  }
  const isOpen = index === state.index && item?.id === state.item?.id;
  row.setAttribute("aria-selected", isOpen);
  row.setAttribute("aria-setsize", number);
  row.setAttribute("aria-posinset", index + 1);
  const shown = item ? JSON.stringify(item) : "";
  if (row.dataset.shown === shown && row.children.length) return;
  row.dataset.shown = shown;
  if (item) row.replaceChildren(...contents(item, row.querySelector("img")));
  else row.replaceChildren(el("div", { class: "thumbnail" }));
}

/** What a row shows; the picture that it has stays where it is the right one, also without the server. */
function contents(item, before) {
  const source = thumbnailPath(item.id, item.version);
  const isRight = before?.getAttribute("src") === source;
  const image = isRight ? before : el("img", { src: source, alt: "", loading: "lazy", decoding: "async", draggable: "false" });
  const isDecided = item.decision !== "open";
  const picture = el("div", { class: "thumbnail" }, image,
    item.frames > 1 ? el("span", { class: "frames", text: `${item.frames} frames` }) : null);
  const remarks = [item.status && (STATUS[item.status] ?? item.status), number(item.quality)].filter(Boolean).join(" · ");
  const state_ = item.isUnsaved && !isDecided ? "unsaved changes" : isDecided ? item.decision : "";
  return [picture, el("div", { class: "words" },
    el("span", { class: "name", text: item.name, title: item.name }),
    item.status ? el("span", { class: "status", data: { status: item.status } }, icon(statusIcon(item.status)), remarks) : null,
    el("span", { class: "decision", data: { decision: item.decision, sending: item.isSending ? "yes" : "" } },
      isDecided ? icon(DECISION_ICON[item.decision]) : null, item.isSending ? `${state_}, saving` : state_))];
}

const number = (quality) => (quality === null || quality === undefined ? "" : `Dice ${quality.toFixed(2)}`);

function showOpen() {
  if (state.index < 0) return;
  const list = byId("list");
  const top = state.index * ROW;
  if (top < list.scrollTop) list.scrollTop = top - ROW;
  else if (top + ROW > list.scrollTop + list.clientHeight) list.scrollTop = top + 2 * ROW - list.clientHeight;
}

function tellCounts(counts) {
  const all = counts.all ?? 0;
  const done = all - (counts.open ?? all);
  setText(byId("progress-text"), `${done} of ${all} reviewed`);
  byId("progress").style.setProperty("--part", all ? done / all : 0);
  document.title = `SonoSeg review (${done} of ${all})`;
  label("filter-status", { "": "Any status", reject: `Reject (${counts.reject ?? 0})`, check: `Check (${counts.check ?? 0})`, ok: `OK (${counts.ok ?? 0})`, failed: `Failed (${counts.failed ?? 0})`, waiting: `Not segmented yet (${counts.waiting ?? 0})` });
  label("filter-reviewed", { "": "All images", no: `Not reviewed (${counts.open ?? 0})`, yes: `Reviewed (${done})` });
}

function label(id, texts) {
  for (const option of byId(id).options) setText(option, texts[option.value] ?? option.textContent);
}
