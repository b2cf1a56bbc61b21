/** Which view is shown: the part of the address behind #/. */

import { update } from "./store.js";

/** Return the view's name and its parameters. */
export function place() {
  const [name, query = ""] = location.hash.replace(/^#\//, "").split("?");
  return { name: name || "overview", query: new URLSearchParams(query) };
}

/** Call `onMove` at each change of the address, and show the view that it names. */
export function follow(onMove) {
  addEventListener("hashchange", () => {
    onMove();
    update({});
  });
}
