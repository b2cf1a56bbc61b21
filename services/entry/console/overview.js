/** The view of everything: how busy, how well, and where. */

import { h } from "./dom.js";
import { models } from "./models.js";
import { placed } from "./colos.js";
import { worldMap } from "./map.js";
import { attention } from "./attention.js";
import { meter } from "./bars.js";
import { number } from "./format.js";
import { state } from "./store.js";
import { tiles } from "./tiles.js";
import { followTraffic, ranges, traffic } from "./traffic.js";
import { drawing, emptiness, panel } from "./view.js";

export const TITLE = "Overview";
const LONG = 4; // colos: with more, what needs a look has its place below the map
let draw = () => {};

/** Put the view into the page; returns what ends it. */
export function enter(main) {
  draw = drawing(main, view);
  return followTraffic();
}

/** Show what has changed. */
export const show = () => draw();

function view() {
  const { world } = state;
  const colos = placed(world.colos, world.loads, world.instances);
  const there = colos.filter((each) => each.isThere);
  const isLong = there.length > LONG;
  return h(
    "div",
    null,
    h("div", { class: "view-head" }, h("h1", null, TITLE), h("div", { class: "end" }, ranges())),
    tiles(),
    h(
      "div",
      { class: "panels overview" },
      panel(
        "Map",
        { about: "a ring is the share of permits in use", key: "map" },
        worldMap(colos),
        isLong && attention(colos),
      ),
      panel("Colos", { key: "colos" }, coloTable(there), !isLong && attention(colos)),
      traffic(),
      panel(
        "Models",
        { kind: "whole", about: "permits in use in each colo", key: "models" },
        models(),
      ),
    ),
  );
}

function coloTable(colos) {
  if (!colos.length)
    return h(
      "div",
      { class: "empty" },
      emptiness("No colo is up.", "Start one with ", h("code", null, "constellation up"), "."),
    );
  return h(
    "table",
    { class: "colos" },
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        h("th", null, "Colo"),
        h("th", null, "Health"),
        h("th", null, "Permits"),
        h("th", { class: "number" }, "Queued"),
        h("th", { class: "number" }, "Instances"),
      ),
    ),
    h(
      "tbody",
      null,
      colos.map((each) =>
        h(
          "tr",
          { "data-key": each.name },
          h("td", { class: "name" }, each.name, h("small", null, each.region || "no region")),
          h("td", { "data-label": "Health" }, healthBadge(each)),
          h(
            "td",
            { "data-label": "Permits in use" },
            `${number(each.used)} / ${number(each.permits)}`,
            meter(each.used, each.permits, { label: each.words }),
          ),
          h("td", { class: "number", "data-label": "Queued" }, number(each.queued)),
          h("td", { class: "number", "data-label": "Instances ready" }, number(each.ready)),
        ),
      ),
    ),
  );
}

function healthBadge(colo) {
  const [kind, text] = {
    good: ["good", "Healthy"],
    warn: ["warn", colo.sick ? `${colo.sick} in backoff` : "Draining"],
    bad: ["bad", "No server"],
    idle: ["", "Idle"],
  }[colo.health];
  return h("span", { class: `badge dot ${kind}` }, text);
}
