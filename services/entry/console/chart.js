/** Lines over time, with a band around one of them, and a cross that tells a moment's values. */

import { h, s } from "./dom.js";
import { time } from "./format.js";
import { linear, moments, ticks } from "./scale.js";
import { state, update } from "./store.js";

const LEFT = 44;
const RIGHT = 12;
const TOP = 10;
const BOTTOM = 22;

/**
 * Draw lines: each of `series` is {name, color, points: [{at, value}], fill, thin, dashed, steps},
 * `band` is {name, color, points: [{at, low, high}]}. `show` writes a value with its unit.
 */
export function lineChart({
  id,
  title,
  series,
  band,
  from,
  to,
  show,
  width = 560,
  height = 220,
  empty,
}) {
  const drawn = series.filter((each) => each.points.length);
  if (!drawn.length) return h("div", { class: "empty" }, empty);
  const highest = Math.max(
    ...drawn.flatMap((each) => each.points.map((p) => p.value)),
    ...(band?.points ?? []).map((p) => p.high),
  );
  const levels = ticks(highest);
  const x = linear([from, to], [LEFT, width - RIGHT]);
  const y = linear([0, levels.at(-1)], [height - BOTTOM, TOP]);
  const cross = state.charts[id];
  const at = nearest(drawn, cross);
  return h(
    "figure",
    { "data-key": id },
    legend({ series: drawn, band, at, show }),
    s(
      "svg",
      {
        class: "chart",
        viewBox: `0 0 ${width} ${height}`,
        role: "img",
        tabindex: 0,
        "aria-label": summary(title, drawn, show),
        onpointermove: (event) => point(id, event, { from, to, width }),
        onpointerleave: () => forget(id),
        onblur: () => forget(id),
        onkeydown: (event) => step(id, event, drawn),
      },
      grid(levels, y, show, width),
      axis(from, to, x, width, height),
      band && s("path", { class: `area f${band.color}`, d: area(band.points, x, y) }),
      drawn.map((each) => line(each, x, y)),
      at !== null &&
        s("line", { class: "cross", x1: x(at), x2: x(at), y1: TOP, y2: height - BOTTOM }),
    ),
  );
}

/** Draw one line without axes. */
export function spark(points, { color = "1", label }) {
  if (points.length < 2)
    return s("svg", { class: "spark", viewBox: "0 0 120 32", "aria-hidden": "true" });
  const x = linear([points[0].at, points.at(-1).at], [1, 119]);
  const y = linear([0, Math.max(...points.map((p) => p.value)) || 1], [30, 3]);
  return s(
    "svg",
    {
      class: "spark chart",
      viewBox: "0 0 120 32",
      preserveAspectRatio: "none",
      role: "img",
      "aria-label": label,
    },
    s("path", {
      class: `area f${color}`,
      d: `${path(points, x, y)}L${x(points.at(-1).at)},31L${x(points[0].at)},31Z`,
    }),
    s("path", {
      class: `line c${color}`,
      d: path(points, x, y),
      "vector-effect": "non-scaling-stroke",
    }),
  );
}

function legend({ series, band, at, show }) {
  const key = (name, color, value, isArea) =>
    h(
      "div",
      { "data-key": name },
      s(
        "svg",
        { viewBox: "0 0 14 8", "aria-hidden": "true" },
        isArea
          ? s("rect", { class: `f${color}`, width: 14, height: 8, opacity: 0.35 })
          : s("line", { class: `c${color}`, x1: 0, x2: 14, y1: 4, y2: 4, "stroke-width": 2.5 }),
      ),
      name,
      " ",
      h("b", null, value),
    );
  const shown = series.map((each) => {
    const found = at === null ? each.points.at(-1) : pointAt(each.points, at);
    return key(each.name, each.color, found ? show(found.value) : "none");
  });
  if (band?.points.length) {
    const found = at === null ? band.points.at(-1) : pointAt(band.points, at);
    shown.push(key(band.name, band.color, `${show(found.low)} to ${show(found.high)}`, true));
  }
  if (at !== null) shown.push(h("div", { "data-key": "at" }, "at ", h("b", null, time(at))));
  return h("div", { class: "legend" }, shown);
}

function grid(levels, y, show, width) {
  return levels.map((level) => [
    s("line", {
      class: level ? "grid" : "base",
      x1: LEFT,
      x2: width - RIGHT,
      y1: y(level),
      y2: y(level),
    }),
    s("text", { x: LEFT - 6, y: y(level) + 4, "text-anchor": "end" }, show(level)),
  ]);
}

function axis(from, to, x, width, height) {
  return moments(from, to, width > 400 ? 6 : 4)
    .filter(({ at }) => x(at) > LEFT + 8 && x(at) < width - RIGHT - 8)
    .map(({ at, text }) => s("text", { x: x(at), y: height - 5, "text-anchor": "middle" }, text));
}

function line(each, x, y) {
  const d = each.steps ? stairs(each.points, x, y) : path(each.points, x, y);
  const kind = `line c${each.color}${each.thin ? " thin" : ""}${each.dashed ? " dashed" : ""}`;
  const first = each.points[0].at;
  const last = each.points.at(-1).at;
  if (each.points.length === 1)
    return s("circle", {
      class: `f${each.color}`,
      cx: x(first),
      cy: y(each.points[0].value),
      r: 2.5,
    });
  return [
    each.fill &&
      s("path", {
        class: `area f${each.color}`,
        d: `${d}L${x(last)},${y(0)}L${x(first)},${y(0)}Z`,
      }),
    s("path", { class: kind, d }),
  ];
}

function path(points, x, y) {
  return "M" + points.map((p) => `${x(p.at).toFixed(1)},${y(p.value).toFixed(1)}`).join("L");
}

function stairs(points, x, y) {
  return points
    .map((p, i) =>
      i
        ? `H${x(p.at).toFixed(1)}V${y(p.value).toFixed(1)}`
        : `M${x(p.at).toFixed(1)},${y(p.value).toFixed(1)}`,
    )
    .join("");
}

function area(points, x, y) {
  const there = points.map((p) => `${x(p.at).toFixed(1)},${y(p.high).toFixed(1)}`);
  const back = [...points].reverse().map((p) => `${x(p.at).toFixed(1)},${y(p.low).toFixed(1)}`);
  return points.length ? `M${[...there, ...back].join("L")}Z` : "";
}

function summary(title, series, show) {
  const told = series.map((each) => {
    const values = each.points.map((p) => p.value);
    return `${each.name}: now ${show(values.at(-1))}, at most ${show(Math.max(...values))}`;
  });
  return `${title}. ${told.join("; ")}. Left and right arrow tell earlier values.`;
}

function nearest(series, cross) {
  if (cross === undefined) return null;
  const every = series.flatMap((each) => each.points.map((p) => p.at));
  return every.reduce((best, at) => (Math.abs(at - cross) < Math.abs(best - cross) ? at : best));
}

function pointAt(points, at) {
  return points.reduce(
    (best, p) => (Math.abs(p.at - at) < Math.abs(best.at - at) ? p : best),
    points[0],
  );
}

function point(id, event, { from, to, width }) {
  const box = event.currentTarget.getBoundingClientRect();
  const at = (event.clientX - box.left) * (width / box.width);
  const moment = from + ((at - LEFT) / (width - LEFT - RIGHT)) * (to - from);
  update({ charts: { ...state.charts, [id]: moment } });
}

function step(id, event, series) {
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === "Escape") return forget(id);
  if (!by) return undefined;
  event.preventDefault();
  const every = [...new Set(series.flatMap((each) => each.points.map((p) => p.at)))].sort(
    (a, b) => a - b,
  );
  const now = nearest(series, state.charts[id]) ?? every.at(-1) + 1;
  const wanted = by < 0 ? every.filter((at) => at < now).at(-1) : every.find((at) => at > now);
  return update({ charts: { ...state.charts, [id]: wanted ?? now } });
}

function forget(id) {
  const { [id]: _, ...rest } = state.charts;
  update({ charts: rest });
}
