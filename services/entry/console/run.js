/** One run of a model: its request, and its answer as it comes. */

import { account, ask } from "./api.js";
import { events } from "./events.js";

/**
 * Run a model; `on` hears: head(response), text(part), and the return value is what there is at
 * the end: {kind: "text" | "json" | "blob", value, usage}. Raises Refused, and what aborts.
 */
export async function run({ accountId, model, body, signal, on }) {
  const path = account(
    accountId,
    `run/${model.split("/").map(encodeURIComponent).join("/").replaceAll("%40", "@")}`,
  );
  const headers = { "Content-Type": "application/json" };
  const response = await ask(path, { method: "POST", headers, body: JSON.stringify(body), signal });
  on.head(response);
  const type = response.headers.get("Content-Type") ?? "";
  if (type.startsWith("text/event-stream")) return streamed(response, on);
  if (type.startsWith("application/json")) return { kind: "json", value: await response.json() };
  return { kind: "blob", value: await response.blob() };
}

async function streamed(response, on) {
  const found = { kind: "text", value: "", usage: null, parts: 0 };
  for await (const { data } of events(response)) {
    if (data === "[DONE]") return found;
    const part = JSON.parse(data);
    if (part.error || part.errors?.length)
      throw new Error(part.error?.message ?? part.errors[0].message);
    const text = typeof part.response === "string" ? part.response : "";
    found.usage = part.usage ?? found.usage;
    found.value += text;
    found.parts += 1;
    if (text) on.text(text);
  }
  throw new Error("The stream ended before its end.");
}
