/** The world with its colos: how full each is by its ring, how well it is by its color. */

import { h, s } from "./dom.js";
import { number } from "./format.js";
import { arranged } from "./labels.js";
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

/** Draw the map; `colos` as `placed` of colos.js makes them. */
export function worldMap(colos) {
  const there = colos.filter((each) => each.isThere);
  const shown = there.filter((each) => each.hasPlace);
  const lost = there.filter((each) => !each.hasPlace).map((each) => each.name);
  const told = there.map((each) => `${each.name}: ${each.words}`).join("; ");
  return [
    s(
      "svg",
      {
        class: "map",
        viewBox: isNarrow() ? around(shown) : WHOLE,
        role: "img",
        "aria-label": `Map of colos. ${told}`,
      },
      s("path", { class: "land", d: path, "stroke-width": STEP * 0.6 }),
      arranged(shown.map((each) => ({ ...each, ...point(each), more: more(each) }))).map(marker),
    ),
    lost.length > 0 &&
      h(
        "p",
        { class: "below", "data-key": "lost" },
        `${lost.join(", ")} cannot be shown: give it latitude and longitude in constellation.yaml.`,
      ),
  ];
}

const point = (colo) => ({ x: colo.longitude, y: -colo.latitude });

function more({ used, permits, queued }) {
  return `${number(used)}/${number(permits)}${queued ? ` +${number(queued)}` : ""}`;
}

/** The part of the world that has all colos, where there is no room for the whole. */
function around(colos) {
  const longitudes = colos.map((each) => each.longitude);
  const latitudes = colos.map((each) => each.latitude);
  if (!colos.length) return WHOLE;
  const [west, east] = [Math.min(...longitudes), Math.max(...longitudes)];
  const [south, north] = [Math.min(...latitudes), Math.max(...latitudes)];
  const width = Math.min(360, Math.max(LEAST, east - west + 50));
  const height = Math.min(NORTH - SOUTH, Math.max(0.6 * width, north - south + 40));
  const left = Math.min(180 - width, Math.max(-180, (west + east - width) / 2));
  const top = Math.min(-SOUTH - height, Math.max(-NORTH, -(south + north + height) / 2));
  return [left, top, width, height].map(Math.round).join(" ");
}

function marker({ name, more, health, share, x, y, radius, label }) {
  const round = 2 * Math.PI * radius;
  const side = { x: label.x, "text-anchor": label.anchor };
  return s(
    "g",
    { "data-key": name },
    s("circle", { class: `halo ${health}`, cx: x, cy: y, r: 1.5 * radius }),
    s("circle", { class: "ring bed", cx: x, cy: y, r: radius, "stroke-width": 0.42 * radius }),
    s("circle", {
      class: `ring ${health}`,
      cx: x,
      cy: y,
      r: radius,
      "stroke-width": 0.42 * radius,
      transform: `rotate(-90 ${x} ${y})`,
      "stroke-dasharray": `${(round * share).toFixed(2)} ${round.toFixed(2)}`,
    }),
    s("circle", {
      class: `heart ${health}`,
      cx: x,
      cy: y,
      r: radius / 2,
      "stroke-width": radius / 4,
    }),
    s("text", { ...side, y: label.y - 0.5 }, name),
    s("text", { ...side, y: label.y + 7, class: "more" }, more),
  );
}
