/** Where names stand on the map, so that colos that are near one another can be told apart. */

const USUAL = 6; // degrees that a marker's ring is from its middle
const LEAST = 3;
const LINE = 15; // degrees that the two lines of a label are high
const LETTER = 4.6;

/** Return the points with `radius` and `label`: no label lies upon another, or on a marker. */
export function arranged(points) {
  const sized = points.map((each) => ({ ...each, radius: radius(each, points) }));
  const taken = sized.map((each) => box(each.x, each.y, each.radius));
  return sized.map((each) => {
    const ways = candidates(each);
    const free = ways.find((way) => !taken.some((other) => meet(way.box, other)));
    const chosen = free ?? ways[0];
    taken.push(chosen.box);
    return { ...each, label: chosen };
  });
}

/** Markers shrink where the next one is near. */
function radius(point, points) {
  const others = points.filter((each) => each !== point);
  const nearest = Math.min(...others.map((each) => Math.hypot(each.x - point.x, each.y - point.y)));
  return Math.max(LEAST, Math.min(USUAL, nearest / 2.2));
}

/** Places for a label, the best first: beside the marker, then higher and lower. */
function candidates({ x, y, name, more, radius: r }) {
  const width = LETTER * Math.max(name.length, 0.8 * more.length);
  const found = [];
  for (const down of [0, -LINE, LINE, -2 * LINE, 2 * LINE]) {
    for (const side of x > 120 ? [-1, 1] : [1, -1]) {
      const at = x + side * (r + 4);
      const left = side > 0 ? at : at - width;
      found.push({
        x: at,
        y: y + down,
        anchor: side > 0 ? "start" : "end",
        box: { left, right: left + width, top: y + down - 7, bottom: y + down + 8 },
      });
    }
  }
  return found;
}

function box(x, y, r) {
  return { left: x - r, right: x + r, top: y - r, bottom: y + r };
}

function meet(a, b) {
  return a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
}
