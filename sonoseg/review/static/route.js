/** The open image in the address, after the #, so that Back, Forward and reload work. The server never sees it. */

/** {id, frame, index} that the address names; id is null where it names none. */
export function current() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const frame = parameters.get("frame");
  const index = window.history.state?.index;
  return { id: parameters.get("image"), frame: frame === null ? null : Number(frame), index: Number.isInteger(index) ? index : -1 };
}

/** Note what is open; `replace` for changes that Back should not stop at, such as the frame of a loop. */
export function show(id, frame, index, replace = false) {
  const parameters = new URLSearchParams({ image: id });
  if (frame !== null) parameters.set("frame", frame);
  const now = current();
  const method = replace || now.id === id || now.id === null ? "replaceState" : "pushState";
  window.history[method]({ index }, "", `#${parameters}`);
}

/** Call `run` with what the address names when Back or Forward is used, or somebody edits the address. */
export function onChange(run) {
  window.addEventListener("popstate", () => run(current()));
}
