/** Scales and ticks of charts. */

import { minute, time } from "./format.js";

const STEPS_MS = [
  1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400,
].map((s) => s * 1000);

/** Return a function from a range of values to a range of pixels. */
export function linear([low, high], [from, to]) {
  const span = high - low || 1;
  return (value) => from + ((value - low) / span) * (to - from);
}

/** Return round values from 0 to at least `highest`, about `wanted` of them. */
export function ticks(highest, wanted = 4) {
  const rough = (highest || 1) / wanted;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((each) => each * power).find((each) => each >= rough * 0.999);
  const count = Math.ceil((highest || 1) / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, at) => Number((at * step).toPrecision(12)));
}

/** Return round moments between two, at most about `wanted`. */
export function moments(from, to, wanted = 5) {
  const step = STEPS_MS.find((each) => (to - from) / each <= wanted) ?? 86_400_000;
  const shift = new Date(from).getTimezoneOffset() * 60_000;
  const first = Math.ceil((from - shift) / step) * step + shift;
  const found = [];
  for (let at = first; at <= to; at += step) found.push(at);
  return found.map((at) => ({ at, text: step < 60_000 ? time(at) : minute(at) }));
}
