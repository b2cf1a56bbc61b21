/** Values as people read them, with their units. */

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hourCycle: "h23",
});
const brief = new Intl.DateTimeFormat("en", {
  hour: "2-digit",
  minute: "2-digit",
  hourCycle: "h23",
});
const full = new Intl.DateTimeFormat("en", {
  dateStyle: "medium",
  timeStyle: "medium",
  hourCycle: "h23",
});

/** 1234 as 1,234; 0.25 as 0.25; 1234567 as 1.2 M. */
export function number(value) {
  const size = Math.abs(value);
  if (size >= 1e9) return `${tenths.format(value / 1e9)} G`;
  if (size >= 1e6) return `${tenths.format(value / 1e6)} M`;
  if (size >= 100 || Number.isInteger(value)) return whole.format(value);
  if (size >= 10) return tenths.format(value);
  return size >= 0.0001 ? String(Number(value.toPrecision(2))) : value === 0 ? "0" : "< 0.0001";
}

/** Milliseconds: 0.42 ms, 37 ms, 1.24 s, 3.1 min. */
export function duration(ms) {
  const [value, unit] = durationParts(ms);
  return `${value} ${unit}`;
}

/** The number and the unit of a duration. */
export function durationParts(ms) {
  if (ms >= 120_000) return [tenths.format(ms / 60_000), "min"];
  if (ms >= 1_000) return [String(Number((ms / 1_000).toPrecision(3))), "s"];
  return [ms >= 10 ? whole.format(ms) : String(Number(ms.toPrecision(2))), "ms"];
}

/** A share of 1 as per cent. */
export function percent(share) {
  if (share > 0 && share < 0.001) return "< 0.1 %";
  return `${Number((100 * share).toFixed(share < 0.1 ? 1 : 0))} %`;
}

/** Bytes in the unit that fits. */
export function bytes(count) {
  if (count >= 2 ** 20) return `${tenths.format(count / 2 ** 20)} MiB`;
  return count >= 1024 ? `${tenths.format(count / 1024)} KiB` : `${count} B`;
}

/** The time of day, to the second. */
export const time = (ms) => clock.format(ms);
/** The time of day, to the minute. */
export const minute = (ms) => brief.format(ms);
/** Day and time. */
export const date = (ms) => full.format(ms);

/** How long ago a moment was. */
export function ago(ms, now) {
  const s = Math.max(0, (now - ms) / 1000);
  if (s < 60) return `${whole.format(s)} s`;
  if (s < 3600) return `${whole.format(Math.floor(s / 60))} min`;
  return s < 86_400 ? `${tenths.format(s / 3600)} h` : `${tenths.format(s / 86_400)} d`;
}

/** "1 queue", "2 queues". */
export function count(value, one, many = `${one}s`) {
  return `${number(value)} ${value === 1 ? one : many}`;
}

/** A model's name without its author. */
export const short = (model) => model.split("/").at(-1);
/** A task's name as words. */
export const words = (name) => name.replaceAll("-", " ").replaceAll("_", " ");
