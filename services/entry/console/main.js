/** Starts the page: signs in, follows the world, and shows the view that the address names. */

import { fill, h } from "./dom.js";
import { head, warnings } from "./frame.js";
import { Live } from "./live.js";
import { morphInto } from "./morph.js";
import * as overview from "./overview.js";
import * as playground from "./playground.js";
import { Rates } from "./rates.js";
import * as requests from "./requests.js";
import { follow, place } from "./router.js";
import * as scaling from "./scaling.js";
import { forget, token } from "./session.js";
import { signIn } from "./sign_in.js";
import { listen, state, update } from "./store.js";
import { applyTheme } from "./theme.js";

const VIEWS = { overview, scaling, requests, playground };
const root = document.getElementById("app");
const nothing = structuredClone(state);

/** Show the page to who has signed in. */
function start() {
  const bar = h("div", { class: "bar" });
  const notices = h("div");
  const main = h("main", { id: "main", tabindex: -1 });
  fill(root, bar, h("div", { class: "unseen", role: "status", id: "told" }), main);
  const rates = new Rates();
  let shown = "";
  let leave = () => {};

  const live = new Live({
    onWorld(sections) {
      const world = { ...state.world, ...sections };
      rates.take(world.loads, world.now.at_ms);
      update({ world, rates });
    },
    onState: (said) => update({ live: said }),
    onRefused: (error) =>
      stop(error?.message ?? "This token is not known any more, or it has expired."),
  });

  function show() {
    const { name } = place();
    const view = VIEWS[name] ?? overview;
    const current = VIEWS[name] ? name : "overview";
    morphInto(
      bar,
      head(current, () => stop()),
    );
    if (current !== shown) {
      leave();
      shown = current;
      document.title = `${view.TITLE} · Constellation`;
      fill(main, notices);
      leave = view.enter(main) ?? (() => {});
    }
    morphInto(notices, warnings());
    view.show?.(main);
  }

  function stop(said = "") {
    live.stop();
    leave();
    unlisten();
    forget();
    Object.assign(state, structuredClone(nothing));
    signIn(root, begin, said);
  }

  const unlisten = listen(show);
  live.run();
  show();
}

/** Let who reads the page know that another part of it begins. */
function focusMain() {
  document.getElementById("main")?.focus({ preventScroll: true });
}

/** Go on from the question for a token: who cannot see must hear that the page is another. */
function begin() {
  start();
  focusMain();
}

applyTheme();
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // what stands behind # is the view's name
  focusMain();
});
follow(() => {
  scrollTo(0, 0);
  focusMain();
});
if (token()) start();
else signIn(root, begin);
