/** What views have in common: a part of the page that is drawn anew whenever something changed. */

import { h } from "./dom.js";
import { time } from "./format.js";
import { morph } from "./morph.js";
import { update } from "./store.js";

const narrow = matchMedia("(max-width: 48rem)");
narrow.addEventListener("change", () => update({}));

/** Whether the screen is that of a telephone. */
export const isNarrow = () => narrow.matches;

/** Put an element into `main` that `draw` makes, and return what draws it anew. */
export function drawing(main, draw) {
  let drawn = draw();
  main.append(drawn);
  return () => {
    drawn = morph(drawn, draw());
  };
}

/** A part of a view with its heading. */
export function panel(title, { end, about, kind = "", key } = {}, ...children) {
  return h(
    "section",
    { class: `panel ${kind}`, "data-key": key ?? title, "aria-label": title },
    h(
      "header",
      null,
      h("h2", null, title),
      about && h("small", null, about),
      end && h("div", { class: "end" }, end),
    ),
    children,
  );
}

/** One of several that is chosen, as a row of buttons. */
export function choices(label, options, chosen, onChoose) {
  return h(
    "div",
    { class: "choices", role: "group", "aria-label": label },
    options.map(([value, text]) =>
      h(
        "button",
        {
          type: "button",
          "data-key": String(value),
          "aria-pressed": String(value === chosen),
          onclick: () => onChoose(value),
        },
        text,
      ),
    ),
  );
}

/** What is to be said of values that could not be had anew; `at` is when they were. */
export function outdated(who, error, at) {
  if (!error) return null;
  const known = at ? ` What is shown is of ${time(at)}.` : "";
  const why = error.replace(/\.$/, "");
  return h(
    "p",
    { class: "notice bad", role: "alert", "data-key": "outdated" },
    `${who} does not answer: ${why}.${known}`,
  );
}

/** Something that is not there yet, and what to do about it. */
export function emptiness(what, ...hint) {
  return [h("strong", null, what), ...hint];
}
