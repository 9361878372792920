/** Start of the page: the session, the parts, the list, the image of the address. */

import * as api from "./api.js";
import * as decide from "./decide.js";
import { byId, el, loadIcons, setText } from "./dom.js";
import { claimTab } from "./drafts.js";
import { discard, edits } from "./edits.js";
import "./brush.js";
import "./calibrate.js";
import "./draw.js";
import * as keys from "./keys.js";
import * as loupe from "./loupe.js";
import * as measurements from "./measurements.js";
import * as notices from "./notices.js";
import { openFromAddress } from "./open.js";
import * as outbox from "./outbox.js";
import * as picture from "./picture.js";
import * as pointer from "./pointer.js";
import * as queue from "./queue.js";
import * as queueView from "./queue_view.js";
import * as route from "./route.js";
import * as series from "./series.js";
import * as stage from "./stage.js";
import { emit, on, state } from "./state.js";
import * as structures from "./structures.js";
import * as summary from "./summary.js";
import * as toolbar from "./toolbar.js";
import * as upload from "./upload.js";

async function start() {
  const list = queue.reload();
  list.catch(() => null);
  const icons = loadIcons();
  state.session = await api.session();
  await icons;
  describeSession(state.session);
  stage.build();
  for (const part of [notices, measurements, summary, structures, decide, loupe, series, upload, queueView, keys, pointer]) part.listen();
  toolbar.build();
  queueView.buildFilters();
  await claimTab();
  on("discard", discard);
  on("kind", () => state.item && picture.show().catch((error) => emit("notice", { text: error.message, kind: "warning" })));
  on("shapes", () => state.item && queue.mark(state.item.id, { isUnsaved: edits.isChanged }));
  on("empty item", () => (byId("empty").hidden = state.item !== null));
  outbox.restore();
  await list;
  emit("counts", state.session.counts);
  emit("queue");
  emit("outbox");
  route.onChange(openFromAddress);
  await openFromAddress();
  byId("stage").focus({ preventScroll: true });
  document.documentElement.dataset.ready = "yes";
}

function describeSession({ title, task, reviewer, blind, read_only: readOnly, notice, can_segment: canSegment, agreement }) {
  setText(byId("title"), title || task);
  setText(byId("task"), task && title !== task ? task : "");
  setText(byId("reviewer"), reviewer ? `Reviewer: ${reviewer}${blind ? " (blind)" : ""}` : "");
  const more = (notice ?? "").replace(/Not for clinical use\.?\s*$/, "").trim() || (readOnly ? "The results cannot be written: nothing can be saved." : "");
  byId("read-only").hidden = !more;
  setText(byId("read-only"), more);
  byId("add").hidden = !canSegment;
  byId("agreement").hidden = !agreement;
  byId("skip").addEventListener("click", (event) => (event.preventDefault(), byId("stage").focus()));
}

start().catch((error) => {
  const isLocked = error.status === 401;
  const text = isLocked ? "This address is not valid any more. Open the one that the server printed when it was started." : error.message;
  byId("empty").hidden = false;
  byId("empty").replaceChildren(el("p", { text }), el("button", { type: "button", class: "main", text: "Try again", on: { click: () => location.reload() } }));
});
