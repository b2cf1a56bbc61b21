/** The models, with what each has in each colo. */

import { meter } from "./bars.js";
import { h } from "./dom.js";
import { number, short, words } from "./format.js";
import { state } from "./store.js";
import { emptiness } from "./view.js";

/** A row for each model; those that run somewhere come first. */
export function models() {
  const { world, rates } = state;
  if (!world.models.length)
    return h(
      "div",
      { class: "empty" },
      emptiness(
        "No model may be seen with this token.",
        "Add one to ",
        h("code", null, "config/models"),
        ".",
      ),
    );
  const loads = Map.groupBy(world.loads, (each) => each.model);
  const instances = Map.groupBy(world.instances, (each) => each.model);
  const isThere = (model) =>
    loads.get(model.name)?.some((each) => each.permits || each.queued) || instances.has(model.name);
  const running = world.models.filter(isThere);
  const others = world.models.filter((each) => !isThere(each));
  return [
    running.length > 0 && table(running, loads, instances, rates),
    others.length > 0 && waiting(others),
  ];
}

/** Those that wait for their first request need no row each. */
function waiting(others) {
  return h(
    "div",
    { class: "waiting", "data-key": "waiting" },
    h("h3", null, "Started by their first request"),
    h(
      "ul",
      null,
      others.map((each) =>
        h(
          "li",
          { class: "badge", "data-key": each.name, title: each.description },
          short(each.name),
        ),
      ),
    ),
  );
}

function table(running, loads, instances, rates) {
  return h(
    "table",
    { class: "models cards" },
    h(
      "thead",
      null,
      h(
        "tr",
        null,
        h("th", null, "Model"),
        h("th", null, "Health"),
        h("th", { class: "number" }, "Per s"),
        h("th", { class: "number" }, "Instances"),
        h("th", { class: "number" }, "Queued"),
        h("th", null, "Permits"),
      ),
    ),
    h(
      "tbody",
      null,
      running.map((model) =>
        row(
          model,
          loads.get(model.name) ?? [],
          instances.get(model.name) ?? [],
          rates?.models.get(model.name) ?? 0,
        ),
      ),
    ),
  );
}

function row(model, loads, instances, rate) {
  const queued = loads.reduce((sum, each) => sum + each.queued, 0);
  const ready = instances.filter((each) => each.state === "ready").length;
  return h(
    "tr",
    { "data-key": model.name },
    h("td", { class: "name whole" }, short(model.name), h("small", null, words(model.task))),
    h("td", { "data-label": "Health" }, health(loads, instances)),
    h("td", { class: "number", "data-label": "Per s" }, number(Number(rate.toPrecision(3)))),
    h("td", { class: "number", "data-label": "Instances" }, `${ready} / ${instances.length}`),
    h("td", { class: "number", "data-label": "Queued" }, number(queued)),
    h(
      "td",
      { class: "whole", "data-label": "Permits in use" },
      h(
        "div",
        { class: "places" },
        loads.filter((each) => each.permits || each.queued).map(place),
        !loads.some((each) => each.permits || each.queued) && h("small", null, "none yet"),
      ),
    ),
  );
}

function place(load) {
  const used = load.permits - load.free;
  const told = `${load.colo}: ${used} of ${load.permits} permits in use, ${load.free} free, ${load.queued} queued`;
  return h(
    "div",
    { class: "place", "data-key": load.colo, title: told },
    h(
      "p",
      null,
      h("span", null, load.colo),
      load.queued ? h("b", { class: "queued" }, `+${number(load.queued)} queued`) : null,
      h("b", null, `${number(used)} / ${number(load.permits)}`),
    ),
    meter(used, load.permits, { label: told }),
  );
}

function health(loads, instances) {
  const sum = (field) => loads.reduce((total, each) => total + each[field], 0);
  const failed = instances.filter((each) => each.state === "failed").length;
  if (failed) return h("span", { class: "badge dot bad" }, `${failed} failed`);
  if (sum("backoff")) return h("span", { class: "badge dot warn" }, `${sum("backoff")} in backoff`);
  if (sum("healthy")) return h("span", { class: "badge dot good" }, "Healthy");
  if (instances.some((each) => each.state === "booting"))
    return h("span", { class: "badge dot info" }, "Booting");
  return h("span", { class: "badge dot" }, "Not running");
}
