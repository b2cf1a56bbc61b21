/** The running copies of models, and the machines that they are on. */

import { h } from "./dom.js";
import { ago, number, short } from "./format.js";
import { state } from "./store.js";
import { emptiness } from "./view.js";

const KINDS = { ready: "good", booting: "info", draining: "warn", failed: "bad" };
const ORDER = ["failed", "booting", "draining", "ready"];

/** A row for each; what needs a look comes first. */
export function instances(all, nodes) {
  if (!all.length)
    return h(
      "div",
      { class: "empty" },
      emptiness(
        "No instance is there.",
        "A model with ",
        h("code", null, "scaling.min: 0"),
        " starts with its first request.",
      ),
    );
  const ordered = all.toSorted(
    (a, b) =>
      ORDER.indexOf(a.state) - ORDER.indexOf(b.state) ||
      a.model.localeCompare(b.model) ||
      a.id.localeCompare(b.id),
  );
  return h(
    "table",
    { class: "cards" },
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        h("th", null, "Instance of"),
        h("th", null, "State"),
        h("th", null, "Colo"),
        h("th", null, "Node"),
        h("th", { class: "number" }, "Booted in"),
        h("th", { class: "number" }, "For"),
      ),
    ),
    h(
      "tbody",
      null,
      ordered.map((each) => row(each, nodes)),
    ),
  );
}

function row(each, nodes) {
  const node = nodes.find((known) => known.name === each.node);
  const now = state.world.now.at_ms ?? Date.now();
  return h(
    "tr",
    { "data-key": each.id },
    h(
      "td",
      { class: "name whole" },
      short(each.model),
      each.message
        ? h("small", { class: "problem wrap" }, each.message)
        : h("small", { class: "wrap" }, each.id),
    ),
    h(
      "td",
      { "data-label": "State" },
      h("span", { class: `badge dot ${KINDS[each.state]}` }, each.state),
    ),
    h("td", { "data-label": "Colo" }, each.colo),
    h(
      "td",
      { "data-label": "Node" },
      each.external ? "elsewhere" : each.node,
      node && h("small", { class: "below" }, machine(node)),
    ),
    h(
      "td",
      { class: "number", "data-label": "Booted in" },
      each.boot_s ? `${number(Number(each.boot_s.toPrecision(2)))} s` : "–",
    ),
    h(
      "td",
      { class: "number", "data-label": "For" },
      each.since_ms ? ago(each.since_ms, now) : "–",
    ),
  );
}

function machine(node) {
  const parts = [
    node.gpus && `${node.gpus} × ${node.gpu_model || "GPU"}`,
    node.cpus && `${number(node.cpus)} CPUs`,
    node.memory_mb && `${number(Math.round(node.memory_mb / 1024))} GiB`,
  ];
  return parts.filter(Boolean).join(", ");
}
