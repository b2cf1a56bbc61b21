/** The page around the views: where one is, who one is, and how current all of it is. */

import { h } from "./dom.js";
import { THEMES, leave } from "./icons.js";
import { time } from "./format.js";
import { state, update } from "./store.js";
import { nextTheme, theme } from "./theme.js";

const WAYS = {
  overview: "Overview",
  scaling: "Scaling",
  requests: "Requests",
  playground: "Playground",
};
const CONTROL_SILENT_S = 5; // it answers each second

/** The head of the page. */
export function head(current, onLeave) {
  const { me } = state.world;
  return h(
    "header",
    { class: "head" },
    h(
      "div",
      { class: "brand" },
      h("img", { src: new URL("mark.svg", import.meta.url).href, alt: "" }),
      "Constellation",
    ),
    h(
      "nav",
      { class: "ways", "aria-label": "Views" },
      Object.entries(WAYS).map(([name, text]) =>
        h(
          "a",
          { href: `#/${name}`, "data-key": name, "aria-current": name === current ? "page" : null },
          text,
        ),
      ),
    ),
    h(
      "div",
      { class: "head-end" },
      currentState(),
      me &&
        h(
          "div",
          { class: "who" },
          me.name || me.account,
          h("small", null, me.sees_all ? "sees all accounts" : "sees its own account"),
        ),
      themeButton(),
      h(
        "button",
        {
          class: "button plain",
          type: "button",
          onclick: onLeave,
          "aria-label": "Sign out",
          title: "Sign out",
        },
        leave(),
      ),
    ),
  );
}

/** What must be said above every view. */
export function warnings() {
  const { live, world } = state;
  const silent = world.now.control_silent_s;
  return h(
    "div",
    { role: "status", "data-key": "warnings" },
    live.kind === "away" &&
      live.since > 0 &&
      h(
        "p",
        { class: "notice bad" },
        `The entry has not answered since ${time(live.since)}: what is shown is as old. Connecting again.`,
      ),
    live.why && h("p", { class: "notice", "data-key": "why" }, live.why),
    live.kind === "live" &&
      silent > CONTROL_SILENT_S &&
      h(
        "p",
        { class: "notice" },
        "Control has been silent for some time: what is shown of colos, models and instances may be old.",
      ),
    Object.entries(world.cut).map(([name, all]) =>
      h(
        "p",
        { class: "notice", "data-key": name },
        `There are ${all} ${name}, of which the first ${world[name].length} are shown.`,
      ),
    ),
  );
}

function currentState() {
  const [kind, text] = {
    live: ["good", "Live"],
    stale: ["warn", "Stale"],
    away: ["bad", "Reconnecting"],
    connecting: ["", "Connecting"],
  }[state.live.kind];
  return h("span", { class: `badge dot ${kind}`, role: "status", id: "live" }, text);
}

function themeButton() {
  const chosen = theme();
  const label = { system: "Colors: as the system", light: "Colors: light", dark: "Colors: dark" }[
    chosen
  ];
  return h(
    "button",
    {
      class: "button plain",
      type: "button",
      "aria-label": label,
      title: label,
      onclick: () => (nextTheme(), update({})),
    },
    THEMES[chosen](),
  );
}
