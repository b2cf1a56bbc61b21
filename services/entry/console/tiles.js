/** The few numbers that say most, at the top of the overview. */

import { meter } from "./bars.js";
import { spark } from "./chart.js";
import { h } from "./dom.js";
import { durationParts, number, percent } from "./format.js";
import { state } from "./store.js";

/** The row of numbers. */
export function tiles() {
  const { loads, instances } = state.world;
  const sum = (field) => loads.reduce((total, each) => total + each[field], 0);
  const permits = sum("permits");
  const used = permits - sum("free");
  return h(
    "dl",
    { class: "tiles" },
    rate(),
    latency(),
    failures(),
    tile(
      "Permits in use",
      number(used),
      `/ ${number(permits)}`,
      permits ? `${percent(used / permits)} of what there is` : "no instance is ready",
      meter(used, permits, { label: `${used} of ${permits} permits in use` }),
    ),
    tile("Queued", number(sum("queued")), "requests", `${number(sum("in_flight"))} in flight`),
    ready(instances),
  );
}

function tile(name, value, unit, about, picture) {
  return h(
    "div",
    { class: "panel tile", "data-key": name },
    h("dt", null, name),
    h("dd", null, value, " ", h("small", null, unit)),
    h("p", null, about),
    picture,
  );
}

function rate() {
  const { rates } = state;
  const points = rates?.points ?? [];
  const most = Math.max(0, ...points.map((each) => each.value));
  return tile(
    "Requests",
    rates ? number(Number(rates.now.toPrecision(3))) : "0",
    "per s",
    `at most ${number(Number(most.toPrecision(3)))} in two minutes`,
    spark(points, { label: "Requests per second, the last two minutes" }),
  );
}

function latency() {
  const recent = lastPoints();
  if (!recent.length) return tile("Latency, median", "–", "", "no request yet");
  const last = recent.at(-1);
  const [value, unit] = durationParts(last.p50_ms);
  const [high, highUnit] = durationParts(last.p99_ms);
  const points = recent.map((each) => ({ at: each.minute_ms, value: each.p50_ms }));
  return tile(
    "Latency, median",
    value,
    unit,
    `99th percentile ${high} ${highUnit}`,
    spark(points, { color: "2", label: "Median latency by minute" }),
  );
}

function failures() {
  const rows = state.traffic?.minutes ?? [];
  const requests = rows.reduce((sum, each) => sum + each.requests, 0);
  const errors = rows.reduce((sum, each) => sum + each.errors, 0);
  if (!requests) return tile("Errors", "–", "", "no request yet");
  const points = rows.map((each) => ({ at: each.minute_ms, value: each.errors }));
  return tile(
    "Errors",
    percent(errors / requests),
    "",
    `${number(errors)} of ${number(requests)} requests`,
    spark(points, { color: "bad", label: "Errors by minute" }),
  );
}

function ready(instances) {
  const of = (state) => instances.filter((each) => each.state === state).length;
  const others = ["booting", "draining", "failed"].filter(of).map((each) => `${of(each)} ${each}`);
  return tile(
    "Instances ready",
    number(of("ready")),
    `/ ${number(instances.length)}`,
    others.join(", ") || "none is booting or draining",
  );
}

function lastPoints() {
  return (state.traffic?.minutes ?? []).filter((each) => each.requests).slice(-15);
}
