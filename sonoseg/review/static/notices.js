/** What the page says: short notices that go away, the hint of a tool, and whether the server answers. */

import { byId, el, icon, setText } from "./dom.js";
import { numberWaiting } from "./outbox.js";
import { connection } from "./api.js";
import { on } from "./state.js";

const SHOWN_MS = { info: 4500, done: 3500, warning: 12000 };
const MOST = 3;
const PATIENCE_MS = 500;
let opening = null;

export function listen() {
  on("notice", show);
  on("hint", (text) => {
    byId("hint").hidden = !text;
    setText(byId("hint"), text ?? "");
  });
  on("connection outbox", tellConnection);
  on("opening item not-opened", tellOpening);
}

/** {text, kind: "info" | "done" | "warning", action: {text, run} or none} */
function show({ text, kind = "info", action = null }) {
  const close = () => node.remove();
  const node = el("div", { class: `notice ${kind}` }, icon({ info: "info", done: "check", warning: "warning" }[kind]), el("span", { text }),
    action && el("button", { type: "button", text: action.text, on: { click: () => (close(), action.run()) } }),
    el("button", { type: "button", class: "close", "aria-label": "Close", on: { click: close } }, icon("cross")));
  const box = byId("notices");
  for (const earlier of kind === "done" ? box.querySelectorAll(".done") : []) earlier.remove();
  box.append(node);
  while (box.children.length > MOST) box.firstChild.remove();
  let timer = setTimeout(close, SHOWN_MS[kind]);
  node.addEventListener("pointerenter", () => clearTimeout(timer));
  node.addEventListener("pointerleave", () => (timer = setTimeout(close, 1500)));
}

/** What takes longer than a moment is said: an image that is segmented when it is opened takes a second or more. */
function tellOpening(detail) {
  clearTimeout(opening);
  byId("loading").hidden = true;
  if (detail?.id) opening = setTimeout(() => (byId("loading").hidden = false), PATIENCE_MS);
}

function tellConnection() {
  const waiting = numberWaiting();
  const decisions = waiting === 1 ? "1 decision is" : `${waiting} decisions are`;
  const kept = waiting ? `${decisions} kept in this browser and sent when it is back.` : "Your work is kept in this browser.";
  const text = {
    ok: "",
    lost: `The server does not answer. ${kept} Go on, or start it again with the same command.`,
    locked: `The server was started anew and does not know this page. Open the address that it printed. ${waiting ? `${decisions} kept and sent then.` : "Your work is kept."}`,
  }[connection];
  byId("connection").hidden = !text;
  setText(byId("connection-text"), text);
  const isSending = connection === "ok" && waiting > 0;
  setText(byId("saving"), connection !== "ok" ? `Not connected${waiting ? `, ${waiting} to send` : ""}` : isSending ? "Saving" : "All saved");
  byId("saving").dataset.kind = connection !== "ok" ? "lost" : isSending ? "saving" : "saved";
}
