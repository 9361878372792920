/** The list of images under the filters: pages are asked for as they are needed, so that 10,000 images cost nothing. */

import * as api from "./api.js";
import { emit } from "./state.js";

export const PAGE = 200;
/** Values of the filters; an empty text is no filter. */
export const filters = { status: "", structure: "", patient: "", reviewed: "" };
const places = new Map();
let pages = new Map();
let number = 0;
let items = [];
let generation = 0;
/** Name of the list whose pages are loaded: the server cuts all of them from the same one. */
let list = "";

export const total = () => number;

/** Ask anew with the filters as they are. Images that were decided on leave a filtered list only here. */
export async function reload() {
  generation += 1;
  [pages, items, number, list] = [new Map(), [], 0, ""];
  places.clear();
  await page(0);
  emit("queue");
}

/** The image at a place, loading its page; null beyond the ends. */
export async function at(index) {
  if (index < 0 || (pages.size && index >= number)) return null;
  if (!items[index]) await page(Math.floor(index / PAGE));
  return items[index] ?? null;
}

/** The image at a place if its page is loaded, else undefined; its page is asked for. */
export function peek(index) {
  if (!items[index] && index >= 0 && index < number) page(Math.floor(index / PAGE)).then(() => emit("queue")).catch(() => null);
  return items[index];
}

/** Place of the next image after `index` without a decision; from the start again after the end. -1: there is none. */
export async function nextOpen(index) {
  for (let step = 1; step <= number; step += 1) {
    const place = (index + step + number) % number;
    const item = await at(place);
    if (item?.decision === "open") return place;
  }
  return -1;
}

/** Place of an image: `hint` where it is there, else its place among the loaded pages, or -1. */
export async function indexOf(id, hint) {
  if ((await at(hint))?.id === id) return hint;
  return places.get(id) ?? -1;
}

/** Change fields of the image with this id. */
export function mark(id, fields) {
  const item = items[places.get(id)];
  if (!item) return;
  Object.assign(item, fields);
  emit("queue");
}

function page(which) {
  let loading = pages.get(which);
  if (!loading) {
    loading = load(which, generation);
    pages.set(which, loading);
    loading.catch(() => pages.delete(which));
  }
  return loading;
}

async function load(which, asked) {
  const set = Object.entries(filters).filter(([, value]) => value !== "");
  const answer = await api.items({ ...Object.fromEntries(set), list, offset: which * PAGE, limit: PAGE });
  if (asked !== generation) return;
  if (list && answer.list !== list) return reload();
  [number, list] = [answer.total, answer.list];
  answer.items.forEach((item, i) => {
    items[which * PAGE + i] = item;
    places.set(item.id, which * PAGE + i);
  });
  emit("counts", answer.counts);
}
