/** What a request's time was made of, and all else that was recorded of it. */

import { split } from "./bars.js";
import { h } from "./dom.js";
import { bytes, date, duration, number } from "./format.js";

export const PARTS = [
  { name: "before the queue", color: "4" },
  { name: "waiting for a permit", color: "3" },
  { name: "to the first part", color: "2" },
  { name: "the rest", color: "1" },
];

/** Cut a request's time into its parts, in milliseconds. */
export function timing(each) {
  const wait = each.permit_wait_us / 1000;
  const before = Math.max(0, each.queue_us / 1000 - wait);
  const first = each.first_part_us / 1000;
  const rest = Math.max(0, each.request_time_ms - before - wait - first);
  return [before, wait, first, rest].map((value, at) => ({ ...PARTS[at], value }));
}

/** Draw them, as long as they took beside the longest. */
export function bar(parts, most, total) {
  const told = parts.map((each) => `${each.name} ${duration(each.value)}`).join(", ");
  return split(parts, Math.max(most, total), told);
}

/** Everything else. */
export function facts(each) {
  const parts = timing(each).map((part) => [part.name, duration(part.value)]);
  const found = [
    ["Request", each.request_id],
    ["Client's id", each.client_request_id],
    ["Arrived", date(each.timestamp_ms)],
    ...parts,
    ["In the backend", duration(each.inference_time_ms)],
    ["Neurons", number(each.neurons)],
    ["Chosen because", each.chosen_because],
    ["Attempt", number(each.attempt)],
    ["Queue at arrival", number(each.local_queue_size)],
    ["Hops", number(each.hops)],
    ["Server", each.server],
    ["Endpoint", each.endpoint],
    ["Instance", each.model_container_id],
    ["Finetune", each.finetune],
    ["Continued after", each.continued_from ? `${each.continued_from} parts` : ""],
    ["Bytes in, out", `${bytes(each.bytes_in)}, ${bytes(each.bytes_out)}`],
    ["Pixels", each.pixels ? number(each.pixels) : ""],
    ["Sound", each.audio_seconds ? `${number(each.audio_seconds)} s` : ""],
    ["Cost", `${number(each.cost)} permit${each.cost === 1 ? "" : "s"}`],
    ["Priority", number(each.priority)],
  ];
  return h(
    "dl",
    { class: "facts" },
    found
      .filter(([, value]) => value !== "")
      .map(([name, value]) =>
        h("div", { "data-key": name }, h("dt", null, name), h("dd", null, value)),
      ),
  );
}
