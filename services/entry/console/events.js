/** Server-sent events of a response's body, as they come. */

const MOST = 8 * 1024 * 1024; // characters of one event: what is longer is none

/** Yield {event, data} of each; ends with the body, and raises what the connection does. */
export async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const [whole, left] = cut(rest + value);
      if (left.length > MOST) throw new Error("an event is too long");
      rest = left;
      for (const each of whole) {
        const event = parsed(each);
        if (event.data !== null) yield event;
      }
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

/** Cut a text into whole events and what is left. */
export function cut(text) {
  const parts = text.replaceAll("\r\n", "\n").split("\n\n");
  return [parts.slice(0, -1), parts.at(-1)];
}

/** Read the fields of one event; comments are none. */
export function parsed(text) {
  let event = "message";
  const data = [];
  for (const line of text.split("\n")) {
    const at = line.indexOf(":");
    const field = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (field === "event") event = value;
    if (field === "data") data.push(value);
  }
  return { event, data: data.length ? data.join("\n") : null };
}
