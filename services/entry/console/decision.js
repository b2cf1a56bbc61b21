/** One decision of the scheduler in words, and those before it as a chart. */

import { lineChart } from "./chart.js";
import { h } from "./dom.js";
import { count, date, number, percent, words } from "./format.js";
import { emptiness, isNarrow } from "./view.js";

const round = (value) => number(Number(value.toPrecision(2)));

/** A chart for each region: demand, the forecast's band, and what was decided. */
export function history(decisions, model) {
  const regions = Map.groupBy(decisions, (each) => each.region);
  if (!regions.size)
    return h(
      "div",
      { class: "empty" },
      emptiness(
        "Nothing was decided yet.",
        "The scheduler decides once a minute, and when demand jumps.",
      ),
    );
  const drawn = [...regions].map(([region, all]) =>
    h(
      "div",
      { "data-key": region || "all" },
      regions.size > 1 && h("h3", null, region || "no region"),
      chart(all, `${model.name} ${region}`, model.permits_per_instance),
    ),
  );
  return h("div", { class: "regions" }, drawn);
}

/** Demand and what there is for it are both told in requests at once. */
function chart(all, id, permits) {
  const points = (value) => all.map((each) => ({ at: each.at_ms, value: value(each) }));
  const band = all
    .filter((each) => each.quantiles.length)
    .map((each) => ({ at: each.at_ms, low: each.quantiles[0], high: each.quantiles[2] }));
  const span = Math.max(60_000, all.at(-1).at_ms - all[0].at_ms);
  return lineChart({
    id: `demand ${id}`,
    title: "Demand and its forecast",
    width: isNarrow() ? 350 : 560,
    height: 220,
    show: round,
    from: all.at(-1).at_ms - span,
    to: all.at(-1).at_ms,
    empty: emptiness("Nothing was decided yet."),
    band: { name: "expected, 50 to 99 %", color: "1", points: band },
    series: [
      { name: "demand", color: "1", points: points((each) => each.demand) },
      {
        name: "capacity",
        color: "2",
        steps: true,
        points: points((each) => permits * each.running),
      },
      {
        name: "desired capacity",
        color: "3",
        steps: true,
        dashed: true,
        points: points((each) => permits * each.desired),
      },
    ],
  });
}

/** All that is told of a decision. */
export function decision(each) {
  const [half, most, nearly] = each.quantiles;
  const mixture = Object.entries(each.weights)
    .toSorted((a, b) => b[1] - a[1])
    .map(([name, share]) => `${words(name)} ${percent(share)}`);
  const found = [
    [
      "Running",
      `${number(each.running)}${each.booting ? `, ${number(each.booting)} booting` : ""}`,
    ],
    ["Required", number(each.required)],
    ["Desired", desired(each)],
    ["Bounds", `${number(each.min)} to ${number(each.max)}`],
    ["Demand", round(each.demand)],
    [
      "To come",
      half === undefined
        ? "not known yet"
        : `${round(half)} (50 %), ${round(most)} (90 %), ${round(nearly)} (99 %)`,
    ],
    [
      "Last minute",
      `${count(Math.round(each.arrivals), "request")}, ${number(Math.round(each.late))} late`,
    ],
    ["Each takes", `${round(each.service_s)} s`],
    ["Full", `${percent(each.saturated)} of the time`],
    [
      "Late requests",
      `${percent(each.late_share)} expected, ${percent(each.slo_late_share)} allowed`,
    ],
    ["Boot", `${round(each.boot_s)} s`],
    ["Forecast by", mixture.join(", ") || "what is usual: too little is known yet"],
  ];
  return h(
    "div",
    { "data-key": each.region || "all" },
    h(
      "p",
      null,
      h("strong", null, each.region || "All colos"),
      h("small", null, ` ${date(each.at_ms)}, because of ${words(each.cause || "a tick")}`),
    ),
    h("p", { class: "why" }, each.reason || "No reason was given."),
    h(
      "dl",
      { class: "facts" },
      found.map(([name, value]) =>
        h("div", { "data-key": name }, h("dt", null, name), h("dd", null, value)),
      ),
    ),
  );
}

function desired(each) {
  if (each.is_held && each.placed !== each.desired)
    return `${number(each.desired)}, held at ${number(each.placed)}`;
  return each.placed < each.desired
    ? `${number(each.desired)}, room for ${number(each.placed)}`
    : number(each.desired);
}
