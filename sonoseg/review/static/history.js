/** Undo and redo: values that replace each other. A value is never changed in place, so keeping it costs a reference. */

const STEPS = 200;

export class History {
  constructor(value) {
    this.value = value;
    this.past = [];
    this.future = [];
  }

  /** Replace the value by `next`, as one step that can be undone; `text` says what was done. */
  push(next, text) {
    this.past.push({ value: this.value, text });
    if (this.past.length > STEPS) this.past.shift();
    this.future = [];
    this.value = next;
  }

  /** Go back one step; return what is undone, or null where there is nothing to undo. */
  undo() {
    return this.#step(this.past, this.future);
  }

  /** Go forward again; return what is done again, or null. */
  redo() {
    return this.#step(this.future, this.past);
  }

  #step(from, to) {
    const step = from.pop();
    if (step === undefined) return null;
    to.push({ value: this.value, text: step.text });
    this.value = step.value;
    return step.text;
  }
}
