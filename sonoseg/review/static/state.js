/** What the page shows at the moment, and who wants to know when that changes. */

export const state = {
  /** Answer of /api/session. */
  session: null,
  /** Answer of /api/items/<id>, or null while nothing is open. */
  item: null,
  /** Index of the open item in the queue, -1 where it is not in it. */
  index: -1,
  /** Index of the chosen shape in edits.shapes, or -1. */
  chosen: -1,
  /** Id of the chosen handle of the chosen shape, or null. */
  handle: null,
  /** "choose", "draw", "brush", "erase" or "calibrate". */
  tool: "choose",
  /** Name of the structure that is drawn or painted. */
  structure: null,
  overlay: true,
  prediction: false,
  enhanced: false,
  /** Names of structures whose eye is closed. */
  hidden: new Set(),
};

const bus = new EventTarget();

/** Call `run(detail)` whenever one of the events `names` (with spaces between them) is emitted. */
export function on(names, run) {
  for (const name of names.split(" ")) bus.addEventListener(name, (event) => run(event.detail));
}

/** Tell everybody who listens to `name`. */
export function emit(name, detail = null) {
  bus.dispatchEvent(new CustomEvent(name, { detail }));
}

/** Set several fields of the state at once, then emit "state" with their names. */
export function update(fields) {
  const names = Object.keys(fields).filter((name) => state[name] !== fields[name]);
  if (!names.length) return;
  Object.assign(state, fields);
  emit("state", names);
}

/** The structure of the session with this name, or null. */
export function structureOf(name) {
  return state.session?.structures.find((structure) => structure.name === name) ?? null;
}

/** The colour of a structure; that of text where it is none of the session. */
export function colourOf(name) {
  return structureOf(name)?.color ?? "#e8e8e8";
}

/** Frame of an item, counted from 1; null for a single image. */
export function frameOf(item) {
  return item.frames > 1 ? item.frame : null;
}

/** Whether the image states the size of its pixels itself: then nobody calibrates it. */
export function hasOwnSpacing(item) {
  return Boolean(item.spacing_mm) && item.spacing_from !== "reviewer";
}
