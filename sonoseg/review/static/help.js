/** The list of all keys. */

import { ask } from "./dialogs.js";
import { el } from "./dom.js";
import { POINTER, singleKeys } from "./keys.js";

export async function showHelp(groups) {
  const box = el("input", { type: "checkbox", id: "single-keys" });
  box.checked = singleKeys.areOn;
  box.addEventListener("change", () => (singleKeys.areOn = box.checked));
  const tables = [...groups, ["Pointer", POINTER]].map(([title, rows]) => el("section", { data: title === "Pointer" ? { long: "yes" } : {} }, el("h3", { text: title }),
    el("dl", {}, rows.map(([keys, text]) => el("div", {}, el("dt", {}, el("kbd", { text: keys })), el("dd", { text }))))));
  await ask({
    title: "Keys",
    nodes: [el("div", { class: "keys" }, tables), el("p", { class: "option" }, box, el("label", { for: "single-keys", text: "Single letters and digits are keys" }))],
    buttons: [{ value: "close", text: "Close", isMain: true }],
    wide: true,
  });
}
