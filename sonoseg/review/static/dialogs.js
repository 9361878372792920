/** Questions to the reviewer, one at a time, in the browser's own modal dialogs: they hold the focus, and Esc closes them. */

import { byId, el } from "./dom.js";

let last = Promise.resolve();

/**
 * Ask. `text`: paragraphs; `nodes`: further elements; `input`: {label, value} for a line of text, with `check(text)` that
 * returns what is wrong with it or ""; `buttons`: [{value, text, isMain}]. Esc answers with the last button.
 * Returns {button, text}. Questions that come while another is open wait for it.
 */
export function ask(question) {
  last = last.then(() => show(question));
  return last;
}

/** Whether a dialog is open: keys belong to it. */
export const isOpen = () => document.querySelector("dialog[open]") !== null;

function show({ title, text = [], nodes = [], input = null, buttons, check = () => "", wide = false }) {
  return new Promise((resolve) => {
    const field = input && el("input", { type: "text", id: "dialog-input", value: input.value, autocomplete: "off", inputmode: "decimal", "aria-describedby": "dialog-fault" });
    const fault = el("p", { class: "fault", id: "dialog-fault", role: "alert" });
    const form = el("form", { method: "dialog" },
      el("h2", { text: title, id: "dialog-title" }),
      text.filter(Boolean).map((each) => el("p", { text: each })), nodes,
      field && [el("label", { for: "dialog-input", text: input.label }), field, fault],
      el("div", { class: "buttons" }, buttons.map((button) => el("button", { type: "submit", value: button.value, class: button.isMain ? "main" : "", text: button.text }))));
    const dialog = el("dialog", { "aria-labelledby": "dialog-title", class: wide ? "wide" : "" }, form);
    const finish = (button) => {
      dialog.close();
      dialog.remove();
      byId("stage").focus({ preventScroll: true });
      resolve({ button, text: field?.value ?? "" });
    };
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      const button = event.submitter?.value ?? buttons.find((each) => each.isMain)?.value ?? buttons[0].value;
      const isMain = buttons.find((each) => each.value === button)?.isMain;
      fault.textContent = field && isMain ? check(field.value) : "";
      if (fault.textContent) field.focus();
      else finish(button);
    });
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      finish(buttons[buttons.length - 1].value);
    });
    document.body.append(dialog);
    dialog.showModal();
    // Without a main button the last one is the harmless one.
    (field ?? form.querySelector("button.main") ?? form.querySelector("button:last-child")).focus();
    field?.select();
  });
}
