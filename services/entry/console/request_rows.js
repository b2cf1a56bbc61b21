/** The last requests as rows: where each went, how it ended, and what its time was made of. */

import { h } from "./dom.js";
import { duration, number, short, time, words } from "./format.js";
import { bar, facts, timing } from "./request_parts.js";
import { choose, state } from "./store.js";

const FLAGS = {
  streamed: "info",
  queued_in_colo: "warn",
  forwarded: "warn",
  cancelled: "bad",
  external_endpoint: "",
  background: "",
  idempotency_replay: "",
};
const COLUMNS = [
  "Arrived",
  "Model",
  "Way",
  "Status",
  "Time",
  "Tokens",
  "Neurons",
  "Chosen because",
];
const NUMBERS = ["Tokens", "Neurons"];

/** The table of these requests. */
export function table(shown, world) {
  const most = Math.max(...shown.map((each) => each.request_time_ms));
  const heads = COLUMNS.map((name) =>
    h("th", { class: NUMBERS.includes(name) ? "number" : null }, name),
  );
  return h(
    "table",
    { class: "requests cards" },
    h("thead", null, h("tr", null, heads, h("th", null, h("span", { class: "unseen" }, "More")))),
    h(
      "tbody",
      null,
      shown.flatMap((each) => rows(each, most, world)),
    ),
  );
}

function rows(each, most, world) {
  const key = `${each.server} ${each.boot_epoch} ${each.sequence}`;
  const isOpen = [key, each.request_id].includes(state.chosen.open);
  const isMarked = each.request_id === state.chosen.marked;
  const row = h(
    "tr",
    { "data-key": key, class: isMarked ? "marked" : null, "data-request": each.request_id },
    cells(each, most, world),
    h("td", { class: "act" }, opener(each, key, isOpen)),
  );
  return [
    row,
    isOpen &&
      h("tr", { class: "more", "data-key": `${key} more` }, h("td", { colspan: 9 }, facts(each))),
  ];
}

function cells(each, most, world) {
  const account = world.accounts.find((known) => known.id === each.account_id);
  const first =
    each.time_to_first_token > 0 && `, first part ${duration(each.time_to_first_token)}`;
  return [
    h(
      "td",
      { class: "when" },
      time(each.timestamp_ms),
      account && h("small", { class: "below" }, account.name || account.id),
    ),
    h("td", { class: "name" }, short(each.model_id), h("small", null, words(each.task))),
    h("td", { class: "way" }, way(each)),
    h(
      "td",
      { class: "state" },
      h("div", { class: "badges" }, status(each, world.codes), badges(each.flags)),
    ),
    h(
      "td",
      { class: "timing" },
      bar(timing(each), most, each.request_time_ms),
      h("small", null, duration(each.request_time_ms), first),
    ),
    h("td", { class: "number tokens" }, `${number(each.tokens_in)} → ${number(each.tokens_out)}`),
    h("td", { class: "number neurons" }, number(each.neurons)),
    h(
      "td",
      { class: "because" },
      each.chosen_because || "–",
      h("small", { class: "below wrap" }, each.model_container_id),
    ),
  ];
}

function opener(each, key, isOpen) {
  const word = isOpen ? "Less" : "More";
  const onclick = () => choose({ open: isOpen ? "" : key, marked: "" });
  const label = `${word} of the request at ${time(each.timestamp_ms)}`;
  return h(
    "button",
    {
      class: "button plain",
      type: "button",
      "aria-expanded": String(isOpen),
      "aria-label": label,
      onclick,
    },
    word,
  );
}

function way(each) {
  const colos = [each.source_colo_id, ...each.visited_colos, each.colo_id];
  return colos.filter((colo, at) => colo && colo !== colos[at - 1]).join(" → ") || "–";
}

function badges(flags) {
  const known = flags.filter((flag) => flag in FLAGS);
  return known.map((flag) =>
    h("span", { class: `badge ${FLAGS[flag]}` }, words(flag).replace(" in colo", "")),
  );
}

function status(each, codes) {
  if (!each.error_code)
    return h("span", { class: "badge dot good" }, String(each.http_status || "ok"));
  const title = words(codes[each.error_code] ?? "");
  return h(
    "span",
    { class: "badge dot bad", title },
    `${each.http_status || "–"} · ${each.error_code}`,
  );
}
