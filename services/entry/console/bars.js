/** Bars: how full something is, what a whole is made of, and how often what occurred. */

import { h, s } from "./dom.js";
import { number } from "./format.js";

/** A meter of `used` of `total`; full ones warn. */
export function meter(used, total, { label, isGone = false } = {}) {
  const share = total > 0 ? Math.min(1, Math.max(0, used / total)) : 0;
  const kind = isGone ? "used gone" : share >= 1 ? "used full" : "used";
  return s(
    "svg",
    {
      class: "meter",
      viewBox: "0 0 100 8",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    },
    s("rect", { class: "bed", width: 100, height: 8, rx: 2 }),
    share > 0 &&
      s("rect", { class: kind, width: Math.max(2, 100 * share).toFixed(1), height: 8, rx: 2 }),
  );
}

/** A bar cut into parts: each is {value, color}; its length is the share of `most`. */
export function split(parts, most, label) {
  let at = 0;
  const scale = 100 / (most || 1);
  return s(
    "svg",
    {
      class: "split",
      viewBox: "0 0 100 10",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    },
    parts
      .filter((each) => each.value > 0)
      .map((each) => {
        const rect = s("rect", {
          class: `f${each.color}`,
          x: at.toFixed(2),
          width: Math.max(0.4, each.value * scale).toFixed(2),
          height: 10,
        });
        at += each.value * scale;
        return rect;
      }),
  );
}

/** A list of {name, about, value, color}, the longest bar the largest value. */
export function ranked(rows, { empty, show = number }) {
  if (!rows.length) return h("div", { class: "empty" }, empty);
  const most = Math.max(...rows.map((each) => each.value));
  return h(
    "ul",
    { class: "bars" },
    rows.map((each) =>
      h(
        "li",
        { "data-key": each.name },
        h(
          "p",
          null,
          h("span", { class: "wrap" }, each.name, each.about && h("small", null, ` ${each.about}`)),
          h("span", null, show(each.value)),
        ),
        split([{ value: each.value, color: each.color ?? "1" }], most, ""),
      ),
    ),
  );
}
