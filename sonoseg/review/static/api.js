/** Requests to the server, and whether it answers. Every address is relative: nothing else is ever asked. */

import { emit } from "./state.js";

const TIMEOUT_MS = 20000;
/** Opening an image may mean that it is segmented, and adding pictures that many are read. */
const LONG_MS = 180000;
const PING_MS = 1500;

/** An answer that is not what was asked for: `status` of HTTP, `body` as the server sent it. */
export class Refused extends Error {
  constructor(status, body) {
    super(body?.error ?? `The server answered with status ${status}.`);
    this.status = status;
    this.body = body ?? {};
  }
}

/** No answer at all. */
export class NoConnection extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

/** "ok", "lost", or "locked": the server does not know this page (its cookie is of an earlier start). */
export let connection = "ok";
let pinging = null;

/** Send a request; return the decoded JSON. Throws Refused or NoConnection. */
export async function request(method, path, body = undefined, milliseconds = TIMEOUT_MS) {
  const headers = method === "GET" ? {} : { "X-Sonoseg": "1" };
  const isForm = body instanceof FormData;
  if (body !== undefined && !isForm) headers["Content-Type"] = "application/json";
  const sent = body === undefined || isForm ? body : JSON.stringify(body);
  const response = await answer(path, { method, headers, body: sent, signal: AbortSignal.timeout(milliseconds) });
  const decoded = await response.json().catch(() => null);
  if (response.status === 401) setConnection("locked");
  if (!response.ok) throw new Refused(response.status, decoded);
  return decoded;
}

/** The bytes of an address, as a Blob. */
export async function blob(path) {
  const response = await answer(path, { signal: AbortSignal.timeout(TIMEOUT_MS) });
  if (!response.ok) throw new Refused(response.status, await response.json().catch(() => null));
  return response.blob().catch(() => {
    throw new NoConnection();
  });
}

export const itemPath = (id) => `/api/items/${encodeURIComponent(id)}`;
export const session = () => request("GET", "/api/session");
export const items = (query) => request("GET", `/api/items?${new URLSearchParams(query)}`);
export const item = (id, frame) => request("GET", itemPath(id) + (frame === null ? "" : `?frame=${frame}`), undefined, LONG_MS);
export const series = (id) => request("GET", `${itemPath(id)}/series`);
export const measure = (id, body) => request("POST", `${itemPath(id)}/measure`, body);
export const review = (id, body) => request("PUT", `${itemPath(id)}/review`, body);
export const upload = (form) => request("POST", "/api/upload", form, LONG_MS);

/** Address of an image; `frame` is null for single images. */
export function imagePath(id, kind, frame) {
  return `${itemPath(id)}/image?kind=${kind}` + (frame === null ? "" : `&frame=${frame}`);
}

/** Address of a thumbnail; `version` makes the browser ask again once the shapes have changed. */
export function thumbnailPath(id, version) {
  return `${itemPath(id)}/thumbnail?v=${encodeURIComponent(version ?? "")}`;
}

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", redirect: "error", cache: "no-cache", ...options });
  } catch {
    setConnection("lost");
    throw new NoConnection();
  }
  if (connection === "lost" && response.status !== 401) setConnection("ok");
  return response;
}

function setConnection(now) {
  if (now === connection) return;
  connection = now;
  emit("connection", now);
  if (now !== "ok" && pinging === null) pinging = setTimeout(ping, PING_MS);
}

async function ping() {
  pinging = null;
  try {
    await request("GET", "/api/ping");
    setConnection("ok");
  } catch (error) {
    if (error instanceof NoConnection || error.status === 401) pinging = setTimeout(ping, PING_MS);
  }
}
