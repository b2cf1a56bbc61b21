/** Calls of the entry that served this page, with the token. */

import { token } from "./session.js";

/** The entry's address; the page may stand below a path of somebody else's. */
export const ROOT = new URL("../", import.meta.url);

const ANSWER_MS = 15_000;

/** A refusal, as the entry told it. */
export class Refused extends Error {
  constructor(status, told) {
    const first = told?.errors?.[0] ?? {};
    super(plain(first.message) || `HTTP status ${status}`);
    this.status = status;
    this.code = first.code ?? 0;
    this.reason = first.reason ?? "";
    this.pointer = first.source?.pointer ?? "";
  }
}

/** Ask, and return the response if it is none of a failure; raises Refused. */
export async function ask(path, { headers = {}, ...rest } = {}) {
  const response = await fetch(new URL(path, ROOT), {
    cache: "no-store",
    credentials: "omit",
    headers: { Authorization: `Bearer ${token()}`, ...headers },
    ...rest,
  });
  if (!response.ok) throw new Refused(response.status, await told(response));
  return response;
}

/** Ask for JSON, within a time: a connection may hang for ever. */
export async function json(path, options) {
  const signal = AbortSignal.timeout(ANSWER_MS);
  try {
    return await (await ask(path, { signal, ...options })).json();
  } catch (error) {
    if (error.name !== "TimeoutError") throw error;
    throw new Error(`no answer in ${ANSWER_MS / 1000} s`, { cause: error });
  }
}

/** The address of an account's route. */
export const account = (id, path) => `client/v4/accounts/${encodeURIComponent(id)}/ai/${path}`;

async function told(response) {
  try {
    return await response.json();
  } catch {
    return null;
  }
}

function plain(message) {
  return (message ?? "").replace(/^AiError: \d+: /, "");
}
