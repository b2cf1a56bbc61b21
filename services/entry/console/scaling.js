/** What the scheduler expects of each model, what it decided, and which instances there are. */

import { json } from "./api.js";
import { decision, history } from "./decision.js";
import { h } from "./dom.js";
import { number, short, words } from "./format.js";
import { instances } from "./instances.js";
import { poll } from "./poll.js";
import { choose, state, update } from "./store.js";
import { drawing, emptiness, isNarrow, outdated, panel } from "./view.js";

export const TITLE = "Scaling";
const EVERY_MS = 3_000;
let draw = () => {};

/** Put the view into the page; returns what ends it. */
export function enter(main) {
  draw = drawing(main, view);
  return poll(asked, EVERY_MS, {
    onAnswer: (decisions) => decisions && update({ decisions, decisionsAt: Date.now(), decisionsError: null }),
    onError: (error) => update({ decisionsError: error.message }),
  });
}

/** Show what has changed. */
export const show = () => draw();

/** The model that is looked at: the one that was chosen, or the busiest. */
function chosen() {
  const { models, decisions } = state.world;
  const busiest = decisions.toSorted((a, b) => b.demand - a.demand)[0]?.model;
  return [state.chosen.model, busiest, models[0]?.name].find((name) =>
    models.some((each) => each.name === name),
  );
}

async function asked() {
  const model = chosen();
  return model ? json(`console/api/decisions?${new URLSearchParams({ model })}`) : null;
}

function view() {
  const { world, decisions, decisionsAt, decisionsError } = state;
  const model = chosen();
  if (!model)
    return h(
      "div",
      null,
      h("div", { class: "view-head" }, h("h1", null, TITLE)),
      h("div", { class: "panel empty" }, emptiness("No model may be seen with this token.")),
    );
  const mine = world.decisions.filter((each) => each.model === model);
  const past = decisions?.model === model ? decisions.decisions : [];
  return h(
    "div",
    null,
    h(
      "div",
      { class: "view-head" },
      h("h1", null, TITLE),
      h("p", null, "What is expected, what was decided, and why."),
    ),
    h(
      "div",
      { class: "panels scaling" },
      isNarrow() ? select(world.models, model) : list(world.models, model),
      h(
        "div",
        { class: "panels", "data-key": "decided" },
        panel(
          `Demand of ${short(model)}`,
          { about: "requests at once, in flight and queued", key: "demand" },
          outdated("Control", decisionsError, past.length && decisionsAt),
          (past.length || !decisionsError) &&
            history(
              past,
              world.models.find((each) => each.name === model),
            ),
        ),
        panel(
          "Last decision",
          { key: "last" },
          mine.length
            ? h(
                "div",
                { class: "regions" },
                mine.map((each) => decision(each)),
              )
            : h(
                "div",
                { class: "empty" },
                emptiness(
                  "Nothing was decided yet.",
                  "The scheduler decides once a minute, and when demand jumps.",
                ),
              ),
        ),
        panel(
          "Instances",
          { about: "of all models", key: "instances" },
          instances(world.instances, world.nodes),
        ),
      ),
    ),
  );
}

function list(models, model) {
  const picks = busiestFirst(models).map((each) => pick(each, model));
  return panel("Models", { key: "picks" }, h("div", { class: "picks" }, picks));
}

/** The list takes a telephone's whole screen. */
function select(models, model) {
  const options = busiestFirst(models).map((each) =>
    h("option", { value: each.name, selected: each.name === model }, short(each.name)),
  );
  const onchange = (event) => pickOne(event.target.value);
  return h(
    "label",
    { "data-key": "picks" },
    h("span", { class: "unseen" }, "Model"),
    h("select", { class: "input", value: model, onchange }, options),
  );
}

/** Those that run somewhere stand before those that do not. */
function busiestFirst(models) {
  const runs = (model) =>
    state.world.decisions.some((each) => each.model === model.name && each.running + each.desired);
  return models.toSorted((a, b) => runs(b) - runs(a) || a.name.localeCompare(b.name));
}

function pick(model, current) {
  const mine = state.world.decisions.filter((each) => each.model === model.name);
  const sum = (field) => mine.reduce((total, each) => total + each[field], 0);
  return h(
    "button",
    {
      type: "button",
      class: "pick",
      "data-key": model.name,
      "aria-pressed": String(model.name === current),
      onclick: () => pickOne(model.name),
    },
    h("span", { class: "pick-name" }, short(model.name)),
    h("span", null, mine.length ? `${sum("running")} / ${sum("desired")}` : "–"),
    h("small", null, words(model.task)),
    h("small", null, mine.length ? `demand ${number(Number(sum("demand").toPrecision(2)))}` : ""),
  );
}

function pickOne(model) {
  choose({ model });
  asked().then(
    (decisions) => decisions && update({ decisions }),
    () => {},
  );
}
