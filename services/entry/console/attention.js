/** What needs a look: everything that is not as it should be, in words. */

import { h } from "./dom.js";
import { count, number, short } from "./format.js";
import { state } from "./store.js";

/** The list, and what entries refused for those who may see it. */
export function attention(colos) {
  const found = [
    ...ofColos(colos),
    ...ofLoads(state.world.loads),
    ...ofInstances(state.world.instances),
  ];
  const { entries } = state.world;
  return h(
    "div",
    { class: "attention", "data-key": "attention" },
    h("h3", null, "Needs a look"),
    h(
      "ul",
      null,
      found.length
        ? found.map(item)
        : item({ kind: "good", text: "Nothing: all is as it should be." }),
    ),
    entries.length > 0 && h("h3", null, "Entries"),
    entries.length > 0 &&
      h(
        "ul",
        null,
        entries.map((each) =>
          item({
            kind: "",
            text: `${each.name} in ${each.colo}: ${count(each.refused, "request")} refused for want of room since its start`,
          }),
        ),
      ),
  );
}

function item({ kind, text }) {
  return h("li", { class: `badge-line ${kind}`, "data-key": text }, text);
}

function ofColos(colos) {
  const lost = colos.filter((each) => each.isThere && !each.servers);
  const leaving = colos.filter((each) => each.draining);
  return [
    ...lost.map((each) => ({
      kind: "bad",
      text: `${each.name} has no server: its models wait for one.`,
    })),
    ...leaving.map((each) => ({
      kind: "warn",
      text: `${each.name}: ${count(each.draining, "server")} draining.`,
    })),
  ];
}

function ofLoads(loads) {
  const sick = loads.filter((each) => each.backoff);
  const full = loads.filter((each) => each.queued && !each.free);
  return [
    ...sick.map((each) => ({
      kind: "warn",
      text: `${short(each.model)} in ${each.colo}: ${count(each.backoff, "endpoint")} in backoff.`,
    })),
    ...full.map((each) => ({
      kind: "warn",
      text: `${short(each.model)} in ${each.colo} is full: ${number(each.queued)} queued.`,
    })),
  ];
}

function ofInstances(instances) {
  const of = (wanted) => instances.filter((each) => each.state === wanted);
  return [
    ...of("failed").map((each) => ({
      kind: "bad",
      text: `${each.id} failed${each.message ? `: ${each.message}` : "."}`,
    })),
    ...of("booting").map((each) => ({ kind: "info", text: `${each.id} is booting.` })),
    ...of("draining").map((each) => ({ kind: "info", text: `${each.id} is draining.` })),
  ];
}
