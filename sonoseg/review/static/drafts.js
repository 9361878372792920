/**
 * Unsaved work, kept by the browser until the server has it.
 *
 * sessionStorage ends with its tab, so what has to outlast it lies in localStorage, under a key that names the results,
 * the tab, the image and its frame. A tab holds a lock with its name; what a closed tab has left is taken over by the next.
 */

import { state } from "./state.js";

const OLDEST_MS = 30 * 24 * 3600 * 1000;
let tab = null;

/** Get a name that no other tab has, and take over what closed tabs have left. */
export async function claimTab() {
  tab = sessionStorage.getItem("sonoseg-tab") ?? newName();
  if (!(await hold(tab))) {
    tab = newName();
    await hold(tab);
  }
  sessionStorage.setItem("sonoseg-tab", tab);
  await adopt();
}

/** Keep `value` (JSON) under a kind and a name; returns whether the browser could. */
export function keep(kind, name, value) {
  try {
    localStorage.setItem(key(kind, name), JSON.stringify({ ...value, time: Date.now() }));
    return true;
  } catch {
    return false;
  }
}

/** What was kept, or null. */
export function kept(kind, name) {
  return parsed(localStorage.getItem(key(kind, name)));
}

export function forget(kind, name) {
  localStorage.removeItem(key(kind, name));
}

/** Names and values of everything that this tab keeps of a kind, oldest first. */
export function all(kind) {
  const start = key(kind, "");
  return keys()
    .filter((each) => each.startsWith(start))
    .map((each) => ({ name: each.slice(start.length), value: parsed(localStorage.getItem(each)) }))
    .filter(({ value }) => value !== null)
    .sort((a, b) => a.value.time - b.value.time);
}

/** Name of the work on an image: of one frame, where it has several. */
export function draftName(id, frame) {
  return JSON.stringify([id, frame]);
}

async function adopt() {
  if (!navigator.locks) return;
  const alive = new Set((await navigator.locks.query()).held.map((lock) => lock.name));
  for (const each of keys()) {
    const [, scope, kind, owner, ...rest] = each.split("|");
    if (scope !== scopeName() || owner === tab || alive.has(lockName(owner))) continue;
    const value = parsed(localStorage.getItem(each));
    const mine = key(kind, rest.join("|"));
    const old = value === null || Date.now() - value.time > OLDEST_MS;
    if (!old && localStorage.getItem(mine) === null) localStorage.setItem(mine, JSON.stringify(value));
    localStorage.removeItem(each);
  }
}

/** Hold the lock of a name until the tab is closed; false where another tab has it. */
function hold(name) {
  if (!navigator.locks) return Promise.resolve(true);
  return new Promise((resolve) => {
    navigator.locks.request(lockName(name), { ifAvailable: true }, (lock) => {
      resolve(lock !== null);
      return lock === null ? undefined : new Promise(() => {});
    });
  });
}

const newName = () => crypto.getRandomValues(new Uint32Array(2)).join("");
const lockName = (name) => `sonoseg-tab-${name}`;
const keys = () => Object.keys(localStorage).filter((each) => each.startsWith("sonoseg|"));
const scopeName = () => encodeURIComponent(state.session.scope ?? `${state.session.task} ${state.session.title}`);
const key = (kind, name) => `sonoseg|${scopeName()}|${kind}|${tab}|${name}`;

function parsed(text) {
  try {
    return text === null ? null : JSON.parse(text);
  } catch {
    return null;
  }
}
