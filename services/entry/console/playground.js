/** Runs any model of the catalog by its schema, and shows what it answers as it comes. */

import { account, json } from "./api.js";
import { Answer } from "./answer.js";
import { fill, h } from "./dom.js";
import { form } from "./form.js";
import { short, words } from "./format.js";
import { run } from "./run.js";
import { state } from "./store.js";
import { emptiness, panel } from "./view.js";

export const TITLE = "Playground";
let place = null;

/** Put the view into the page; returns what ends it. */
export function enter(main) {
  place = new Playground(main);
  return () => place.cancel();
}

/** The models come with the world, which may be a moment later than the page. */
export const show = () => place.ready();

class Playground {
  #models = [];
  #model = null;
  #form = null;
  #running = null;
  #answer = new Answer();
  #isCode = false;
  #code = h("textarea", {
    class: "code",
    rows: 12,
    spellcheck: "false",
    "aria-label": "The body as JSON",
  });
  #stream = h("input", { type: "checkbox", checked: true });
  #problem = h("p", { class: "problem", role: "alert" });
  #asked = h("div");
  #about = h("p", { class: "below" });
  #choice = h("select", {
    class: "input",
    id: "model",
    onchange: () => this.#pick(this.#choice.value),
  });
  #go = h("button", { class: "button main", type: "submit" }, "Run");
  #stop = h(
    "button",
    { class: "button", type: "button", disabled: true, onclick: () => this.cancel() },
    "Cancel",
  );
  #body;

  constructor(main) {
    this.#body = h("div", null, h("div", { class: "empty" }, emptiness("Asking for the models …")));
    main.append(
      h(
        "div",
        null,
        h(
          "div",
          { class: "view-head" },
          h("h1", null, TITLE),
          h("p", null, "Any model of the catalog, by its schema."),
        ),
        this.#body,
      ),
    );
  }

  /** Show the models once they are known. */
  ready() {
    const { me, models } = state.world;
    const mine = models.filter((each) => each.runs);
    if (this.#models.length || !me) return;
    if (!me.scopes.includes("run"))
      return void fill(
        this.#body,
        h(
          "p",
          { class: "notice" },
          "This token may look, but not run models: it lacks the scope “run”.",
        ),
      );
    if (!mine.length)
      return void fill(
        this.#body,
        h("div", { class: "panel empty" }, emptiness("No model may be run with this token.")),
      );
    this.#models = mine;
    const tasks = Map.groupBy(mine, (each) => each.task);
    fill(
      this.#choice,
      [...tasks].map(([task, all]) =>
        h(
          "optgroup",
          { label: words(task) },
          all.map((each) => h("option", { value: each.name }, short(each.name))),
        ),
      ),
    );
    fill(this.#body, this.#panels());
    this.#pick(mine.find((each) => each.streams)?.name ?? mine[0].name);
  }

  /** Leave what is running. */
  cancel() {
    this.#running?.abort();
  }

  #panels() {
    const acts = h(
      "div",
      { class: "acts" },
      this.#go,
      this.#stop,
      h("label", { class: "check", hidden: true }, this.#stream, "Stream the answer"),
    );
    const asking = h(
      "form",
      {
        class: "form",
        novalidate: true,
        onsubmit: (event) => (event.preventDefault(), this.#run()),
      },
      h(
        "div",
        { class: "field" },
        h("label", { for: "model" }, "Model"),
        this.#choice,
        this.#about,
      ),
      this.#asked,
      this.#problem,
      acts,
    );
    return h(
      "div",
      { class: "panels playground" },
      panel("Request", { end: this.#ways() }, asking),
      panel("Answer", { end: this.#answer.badge }, this.#answer.element),
    );
  }

  #ways() {
    const button = (text, isCode) =>
      h(
        "button",
        {
          type: "button",
          "aria-pressed": String(this.#isCode === isCode),
          onclick: (event) => this.#show(isCode, event.target),
        },
        text,
      );
    return h(
      "div",
      { class: "choices", role: "group", "aria-label": "How to write the request" },
      button("Form", false),
      button("JSON", true),
    );
  }

  #show(isCode, button) {
    if (isCode && !this.#isCode) this.#code.value = JSON.stringify(this.#read() ?? {}, null, 2);
    this.#isCode = isCode;
    for (const each of button.parentElement.children)
      each.setAttribute("aria-pressed", String(each === button));
    fill(this.#asked, isCode ? h("div", { class: "field" }, this.#code) : this.#form.element);
  }

  async #pick(name) {
    this.cancel();
    this.#model = this.#models.find((each) => each.name === name);
    this.#form = null;
    this.#go.disabled = true;
    this.#choice.value = name;
    fill(this.#asked); // the last model's form is none of this one
    fill(this.#about, this.#model.description);
    fill(this.#problem);
    this.#stream.parentElement.hidden = !this.#model.streams;
    try {
      const { result } = await json(
        account(state.world.me.account, `models/schema?${new URLSearchParams({ model: name })}`),
      );
      if (this.#model.name !== name) return;
      this.#form = form(this.#model, result.input);
      const isBare = Object.keys(result.input.properties ?? {}).length === 0;
      this.#go.disabled = this.#running !== null;
      this.#show(isBare, this.#body.querySelectorAll(".choices button")[isBare ? 1 : 0]);
    } catch (error) {
      fill(this.#problem, error.message);
    }
  }

  #read() {
    try {
      fill(this.#problem);
      return this.#isCode ? JSON.parse(this.#code.value) : this.#form.read();
    } catch (error) {
      fill(this.#problem, this.#isCode ? `This is no JSON: ${error.message}` : error.message);
      this.#form.mark(error.pointer ?? "");
      return null;
    }
  }

  async #run() {
    const body = this.#read();
    if (!body || this.#running) return;
    if (!this.#isCode && this.#model.streams && this.#stream.checked) body.stream = true;
    this.#busy(new AbortController());
    this.#answer.begin();
    try {
      const asked = {
        accountId: state.world.me.account,
        model: this.#model.name,
        body,
        signal: this.#running.signal,
        on: this.#answer,
      };
      this.#answer.end(await run(asked), this.#form?.picture());
    } catch (error) {
      this.#answer.fail(error, this.#running.signal.aborted);
      if (error.pointer) this.#form?.mark(error.pointer);
    } finally {
      this.#busy(null);
    }
  }

  #busy(running) {
    this.#running = running;
    this.#go.disabled = running !== null;
    this.#stop.disabled = running === null;
  }
}
