/** What was asked for lately, and how it went: rate, latency, errors by code. */

import { account, json } from "./api.js";
import { ranked } from "./bars.js";
import { lineChart } from "./chart.js";
import { h } from "./dom.js";
import { duration, number, words } from "./format.js";
import { poll } from "./poll.js";
import { choose, state, update } from "./store.js";
import { choices, emptiness, isNarrow, outdated, panel } from "./view.js";

const EVERY_MS = 4_000;
const RANGES = [
  [15, "15 min"],
  [60, "1 hour"],
  [1440, "24 hours"],
];

/** Whose requests are meant: all accounts' for those who see all. */
export const whose = () => (state.world.me?.sees_all ? { account: "*" } : {});

/** Ask again and again until the function that is returned is called. */
export function followTraffic() {
  return poll(asked, EVERY_MS, {
    onAnswer: (traffic) => traffic && update({ traffic, trafficError: null }),
    onError: (error) => update({ trafficError: error.message }),
  });
}

/** The buttons that choose how far back one looks. */
export function ranges() {
  return choices("How far back", RANGES, state.chosen.minutes, (minutes) => {
    choose({ minutes });
    asked().then(
      (traffic) => traffic && update({ traffic, trafficError: null }),
      (error) => update({ trafficError: error.message }),
    );
  });
}

/** The three panels. */
export function traffic() {
  const { traffic: found, trafficError } = state;
  if (trafficError && !found)
    return panel(
      "Traffic",
      { kind: "whole", key: "traffic" },
      h("div", { class: "empty" }, emptiness("Analytics does not answer.", trafficError)),
    );
  const {
    from,
    to,
    minutes = [],
    codes = [],
  } = found ?? { from: Date.now() - 60_000, to: Date.now() };
  const of = (name, color, value, more) => ({
    name,
    color,
    points: minutes
      .filter((each) => value(each) !== undefined)
      .map((each) => ({ at: each.minute_ms, value: value(each) })),
    ...more,
  });
  const none = () =>
    emptiness(
      "No request in this time.",
      "Run one in the ",
      h("a", { href: "#/playground" }, "playground"),
      ".",
    );
  const unit = found?.step > 60_000 ? "hour" : "minute";
  const span = { from, to, width: isNarrow() ? 350 : 520, height: 210 };
  return h(
    "div",
    { class: "whole traffic", "data-key": "traffic" },
    outdated("Analytics", trafficError, found?.to),
    panel(
      "Request rate",
      { about: `requests per ${unit}` },
      lineChart({
        ...span,
        id: "rate",
        title: `Requests per ${unit}`,
        empty: none(),
        show: number,
        series: [
          of("all", "1", (each) => each.requests, { fill: true }),
          of("failed", "bad", (each) => each.errors),
        ],
      }),
    ),
    panel(
      "Latency",
      { about: "percentiles of the request time" },
      lineChart({
        ...span,
        id: "latency",
        title: "Latency",
        empty: none(),
        show: duration,
        series: [
          of("99th", "3", (each) => each.p99_ms),
          of("95th", "2", (each) => each.p95_ms),
          of("median", "1", (each) => each.p50_ms),
        ],
      }),
    ),
    panel(
      "Errors by code",
      {},
      ranked(codes, { empty: emptiness("No request failed in this time.") }),
    ),
  );
}

async function asked() {
  const { me, codes } = state.world;
  if (!me) return null;
  const to = Date.now();
  const from = to - state.chosen.minutes * 60_000;
  const isLong = state.chosen.minutes > 120;
  const ask = (groups) =>
    json(
      account(
        me.account,
        `usage?${new URLSearchParams({ ...whose(), group_by: groups, from: String(from), to: String(to) })}`,
      ),
    );
  const [times, errors] = await Promise.all([ask(isLong ? "hour" : "minute"), ask("error_code")]);
  const step = isLong ? 3_600_000 : 60_000;
  const minutes = filled(
    times.result.map((each) => ({
      ...each,
      minute_ms: Date.parse(each[isLong ? "hour" : "minute"]),
    })),
    step,
    to,
  );
  const failed = errors.result.filter((each) => each.error_code);
  return {
    from,
    to,
    step,
    minutes,
    codes: failed.map((each) => named(each, codes)).toSorted((a, b) => b.value - a.value),
  };
}

/** Moments in which nothing was asked for are zero; the one that has just begun is left out. */
export function filled(rows, step, now) {
  const known = new Map(rows.map((each) => [each.minute_ms, each]));
  const ended = rows.filter((each) => each.minute_ms + step <= now);
  if (!ended.length) return rows;
  const found = [];
  for (let at = ended[0].minute_ms; at + step <= now; at += step)
    found.push(known.get(at) ?? { minute_ms: at, requests: 0, errors: 0 });
  return found;
}

function named(row, codes) {
  return {
    name: String(row.error_code),
    about: words(codes[row.error_code] ?? "another error"),
    value: row.requests,
    color: "bad",
  };
}
