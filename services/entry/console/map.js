/** The world with its colos: how full each is by its ring, how well it is by its color. */

import { s } from "./dom.js";
import { count, number } from "./format.js";
import { STEP, land } from "./land.js";
import { isNarrow } from "./view.js";

const NORTH = 78;
const SOUTH = -56;
const WHOLE = `-180 ${-NORTH} 360 ${NORTH - SOUTH}`;
const LEAST = 150; // degrees that a telephone shows from west to east
const path = land()
  .filter(([, latitude]) => latitude < NORTH && latitude > SOUTH)
  .map(([longitude, latitude]) => `M${longitude},${-latitude}h0`)
  .join("");

/** Draw the map; `colos` as `placed` makes them. */
export function worldMap(colos) {
  const told = colos.map((each) => `${each.name}: ${each.words}`).join("; ");
  return s(
    "svg",
    {
      class: "map",
      viewBox: isNarrow() ? around(colos.filter((each) => each.isThere)) : WHOLE,
      role: "img",
      "aria-label": `Map of colos. ${told}`,
    },
    s("path", { class: "land", d: path, "stroke-width": STEP * 0.6 }),
    colos.filter((each) => each.isThere).map(marker),
  );
}

/** The part of the world that has all colos, where there is no room for the whole. */
function around(colos) {
  const longitudes = colos.map((each) => each.longitude);
  const latitudes = colos.map((each) => each.latitude);
  if (!colos.length) return WHOLE;
  const [west, east] = [Math.min(...longitudes), Math.max(...longitudes)];
  const [south, north] = [Math.min(...latitudes), Math.max(...latitudes)];
  const width = Math.min(360, Math.max(LEAST, east - west + 50));
  const height = Math.max(0.6 * width, north - south + 40);
  const left = Math.min(180 - width, Math.max(-180, (west + east - width) / 2));
  const top = Math.min(-SOUTH - height, Math.max(-NORTH, -(south + north + height) / 2));
  return [left, top, width, height].map(Math.round).join(" ");
}

function marker(colo) {
  const [x, y] = [colo.longitude, -colo.latitude];
  const round = 2 * Math.PI * 6;
  const isEast = x > 120;
  const side = { x: isEast ? x - 10 : x + 10, "text-anchor": isEast ? "end" : "start" };
  return s(
    "g",
    { "data-key": colo.name },
    s("circle", { class: `halo ${colo.health}`, cx: x, cy: y, r: 9 }),
    s("circle", { class: "ring bed", cx: x, cy: y, r: 6 }),
    s("circle", {
      class: `ring ${colo.health}`,
      cx: x,
      cy: y,
      r: 6,
      transform: `rotate(-90 ${x} ${y})`,
      "stroke-dasharray": `${(round * colo.share).toFixed(2)} ${round.toFixed(2)}`,
    }),
    s("circle", { class: `heart ${colo.health}`, cx: x, cy: y, r: 3 }),
    s("text", { ...side, y: y - 0.5 }, colo.name),
    s(
      "text",
      { ...side, y: y + 7, class: "more" },
      `${number(colo.used)}/${number(colo.permits)}${colo.queued ? ` +${number(colo.queued)}` : ""}`,
    ),
  );
}

/** Add up what each colo has: permits, queue, endpoints by health. */
export function placed(colos, loads, instances) {
  return colos.map((colo) => {
    const here = loads.filter((each) => each.colo === colo.name);
    const sum = (field) => here.reduce((total, each) => total + each[field], 0);
    const permits = sum("permits");
    const used = permits - sum("free");
    const sick = sum("backoff");
    const isThere = colo.servers + colo.nodes > 0;
    const health = !isThere
      ? "idle"
      : !colo.servers
        ? "bad"
        : sick || colo.draining
          ? "warn"
          : permits
            ? "good"
            : "idle";
    const words = isThere
      ? `${number(used)} of ${count(permits, "permit")} in use, ${number(sum("queued"))} queued, ${count(sick, "endpoint")} in backoff`
      : "nothing runs there";
    const ready = instances.filter(
      (each) => each.colo === colo.name && each.state === "ready",
    ).length;
    return {
      ...colo,
      permits,
      used,
      queued: sum("queued"),
      healthy: sum("healthy"),
      sick,
      share: permits ? used / permits : 0,
      isThere,
      health,
      words,
      ready,
    };
  });
}
