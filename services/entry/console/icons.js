/** The few signs that the page has. */

import { s } from "./dom.js";

const icon = (...paths) =>
  s(
    "svg",
    {
      viewBox: "0 0 24 24",
      fill: "none",
      stroke: "currentColor",
      "stroke-width": 1.75,
      "stroke-linecap": "round",
      "stroke-linejoin": "round",
      "aria-hidden": "true",
    },
    paths.map((d) => s("path", { d })),
  );

export const THEMES = {
  system: () => icon("M4 5h16v11H4z", "M9 20h6", "M12 16v4"),
  light: () =>
    icon(
      "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8",
      "M12 2v2M12 20v2M2 12h2M20 12h2M5 5l1.4 1.4M17.6 17.6 19 19M5 19l1.4-1.4M17.6 6.4 19 5",
    ),
  dark: () => icon("M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5"),
};
export const leave = () => icon("M10 4H5v16h5", "M14 8l4 4-4 4", "M18 12H9");
export const cross = () => icon("M6 6l12 12", "M18 6 6 18");
