/** The last requests: how long each part of them took, and why they ran where they did. */

import { account, json } from "./api.js";
import { h, s } from "./dom.js";
import { short } from "./format.js";
import { poll } from "./poll.js";
import { PARTS } from "./request_parts.js";
import { table } from "./request_rows.js";
import { place } from "./router.js";
import { choose, state, update } from "./store.js";
import { whose } from "./traffic.js";
import { drawing, emptiness, outdated, panel } from "./view.js";

export const TITLE = "Requests";
const EVERY_MS = 2_000;
const SHOWN = 30; // and as many more with each press
const KEPT = 200;
let draw = () => {};

/** Put the view into the page; returns what ends it. */
export function enter(main) {
  choose({ pages: 1, marked: place().query.get("id") ?? "", open: place().query.get("id") ?? "" });
  draw = drawing(main, view);
  return poll(asked, EVERY_MS, {
    onAnswer: (requests) => requests && update({ requests, requestsAt: Date.now(), requestsError: null }),
    onError: (error) => update({ requestsError: error.message }),
  });
}

/** Show what has changed. */
export const show = () => draw();

async function asked() {
  const { me } = state.world;
  if (!me) return null;
  const { filter } = state.chosen;
  const query = { ...whose(), limit: String(KEPT), ...(filter && { model: filter }) };
  return (await json(account(me.account, `usage/requests?${new URLSearchParams(query)}`))).result;
}

function view() {
  const { chosen, requests, requestsAt, requestsError, world } = state;
  const found = (requests ?? []).filter(
    (each) =>
      (!chosen.filter || each.model_id === chosen.filter) && (!chosen.errors || each.error_code),
  );
  const marked = found.findIndex((each) => each.request_id === chosen.marked);
  const shown = found.slice(0, Math.max(SHOWN * chosen.pages, marked + 1));
  return h(
    "div",
    null,
    h(
      "div",
      { class: "view-head" },
      h("h1", null, TITLE),
      h("p", null, "The last attempts that reached a server, newest first."),
      h("div", { class: "end" }, onlyErrors(chosen), whichModel(world.models, chosen)),
    ),
    outdated("Analytics", requestsError, requests && requestsAt),
    panel(
      "Last requests",
      { end: keys(), key: "requests" },
      shown.length ? table(shown, world) : h("div", { class: "empty" }, nothing(requests)),
      shown.length < found.length && more(found.length - shown.length),
    ),
  );
}

function more(left) {
  return h(
    "p",
    { class: "more-of-it" },
    h(
      "button",
      { type: "button", class: "button", onclick: () => choose({ pages: state.chosen.pages + 1 }) },
      `Show ${Math.min(SHOWN, left)} more`,
    ),
  );
}

function nothing(requests) {
  if (!requests) return emptiness("Asking analytics …");
  return emptiness(
    "No request yet.",
    "Run a model in the ",
    h("a", { href: "#/playground" }, "playground"),
    ", and it appears here.",
  );
}

function onlyErrors(chosen) {
  return h(
    "label",
    { class: "check" },
    h("input", {
      type: "checkbox",
      checked: chosen.errors,
      onchange: (event) => choose({ errors: event.target.checked }),
    }),
    "Only failed",
  );
}

function whichModel(models, chosen) {
  return h(
    "label",
    null,
    h("span", { class: "unseen" }, "Model"),
    h(
      "select",
      {
        class: "input",
        value: chosen.filter,
        onchange: (event) => choose({ filter: event.target.value, pages: 1 }),
      },
      h("option", { value: "" }, "All models"),
      models.map((each) =>
        h("option", { value: each.name, selected: each.name === chosen.filter }, short(each.name)),
      ),
    ),
  );
}

function keys() {
  return h(
    "div",
    { class: "legend keys" },
    PARTS.map(({ name, color }) =>
      h(
        "div",
        { "data-key": name },
        s(
          "svg",
          { viewBox: "0 0 14 8", "aria-hidden": "true" },
          s("rect", { class: `f${color}`, width: 14, height: 8 }),
        ),
        name,
      ),
    ),
  );
}
