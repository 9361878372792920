/**
 * Unsaved work, kept by the browser until the server has it.
 *
 * sessionStorage ends with its tab, so what has to outlast it lies in localStorage, under a key that names the results,
 * the tab, the image and its frame. A tab holds a lock with its name; what a closed tab has left is taken over by the next.
 * Browsers have locks for this machine and for https only; elsewhere a tab keeps the time at which it was last there.
 */

import { state } from "./state.js";

const OLDEST_MS = 30 * 24 * 3600 * 1000;
const BEAT_MS = 5000;
/** Timers of tabs in the background run once a minute. */
const SILENT_MS = 180000;
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

/** Where this tab has work on the same image, that of the closed one stays for a later tab. */
async function adopt() {
  const alive = navigator.locks ? new Set((await navigator.locks.query()).held.map((lock) => lock.name)) : null;
  const isOpen = (name) => (alive ? alive.has(lockName(name)) : isBeating(name));
  for (const each of keys()) {
    const [, scope, kind, owner, ...rest] = each.split("|");
    if (scope !== scopeName() || owner === tab || isOpen(owner)) continue;
    const value = parsed(localStorage.getItem(each));
    const mine = key(kind, rest.join("|"));
    const old = value === null || Date.now() - value.time > OLDEST_MS;
    if (!old && localStorage.getItem(mine) !== null) continue;
    if (!old) localStorage.setItem(mine, JSON.stringify(value));
    localStorage.removeItem(each);
  }
}

const isBeating = (name) => Date.now() - Number(localStorage.getItem(lockName(name)) ?? 0) < SILENT_MS;

/** Hold a name without locks: by the time at which the tab was last there. */
function beat(name) {
  if (isBeating(name)) return false;
  const write = () => {
    try {
      localStorage.setItem(lockName(name), Date.now());
    } catch {
      // The storage is full; edits.js says so.
    }
  };
  write();
  setInterval(write, BEAT_MS);
  addEventListener("pagehide", () => localStorage.removeItem(lockName(name)));
  addEventListener("pageshow", write);
  return true;
}

/** Hold the lock of a name until the tab is closed; false where another tab has it. */
function hold(name) {
  if (!navigator.locks) return Promise.resolve(beat(name));
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
