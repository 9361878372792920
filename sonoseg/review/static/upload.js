/** Pictures dropped onto the page, or chosen with a button, are segmented at once and join the list. */

import * as api from "./api.js";
import { byId, el } from "./dom.js";
import { openById } from "./open.js";
import * as queue from "./queue.js";
import { emit, state } from "./state.js";

let depth = 0;

export function listen() {
  const target = document.documentElement;
  target.addEventListener("dragenter", (event) => hasFiles(event) && over(1, event));
  target.addEventListener("dragleave", (event) => hasFiles(event) && over(-1, event));
  target.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  target.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    over(-depth, event);
    add([...event.dataTransfer.files]);
  });
  byId("add-files").addEventListener("change", (event) => {
    add([...event.target.files]);
    event.target.value = "";
  });
  byId("add").addEventListener("click", () => byId("add-files").click());
}

function over(step, event) {
  event.preventDefault();
  depth = Math.max(0, depth + step);
  byId("drop").hidden = depth === 0;
}

async function add(files) {
  if (!files.length) return;
  if (!state.session.can_segment) {
    emit("notice", { text: "Pictures can be added where the page was started with a model: sonoseg review --images FOLDER --model MODEL.", kind: "warning" });
    return;
  }
  const form = new FormData();
  for (const file of files) form.append("files", file, file.name);
  byId("busy").hidden = false;
  byId("busy").replaceChildren(el("span", { class: "spinner" }), files.length === 1 ? "Segmenting the picture" : `Segmenting ${files.length} pictures`);
  try {
    const { items, problems } = await api.upload(form);
    for (const { name, error } of problems) emit("notice", { text: `${name}: ${error}`, kind: "warning" });
    if (items.length) {
      await queue.reload();
      await openById(items[0], null, await queue.indexOf(items[0], -1));
      emit("notice", { text: items.length === 1 ? "1 picture was added." : `${items.length} pictures were added.`, kind: "done" });
    }
  } catch (error) {
    emit("notice", { text: error.message, kind: "warning" });
  } finally {
    byId("busy").hidden = true;
  }
}

const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
