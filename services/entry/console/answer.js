/** The answer's part of the playground: what came, when it came, and how it ended. */

import { shownBlob, shownJson } from "./answers.js";
import { fill, h } from "./dom.js";
import { duration, number } from "./format.js";
import { emptiness } from "./view.js";

/** Shows one answer after the other. */
export class Answer {
  badge = h("span", { class: "badge dot", role: "status" }, "Nothing asked yet");
  #figures = h("dl", { class: "figures" });
  #shown = h("div", { class: "answer" });
  #said = null;
  #began = 0;
  #first = 0;
  #id = "";
  #status = 0;
  element;

  constructor() {
    fill(
      this.#shown,
      h("div", { class: "empty" }, emptiness("No answer yet.", "Choose a model and press Run.")),
    );
    this.element = h(
      "div",
      { "aria-live": "polite", "aria-busy": "false", id: "answer" },
      this.#shown,
      this.#figures,
    );
  }

  /** A request is on its way. */
  begin() {
    release(this.#shown);
    this.#began = performance.now();
    this.#first = 0;
    this.#id = "";
    this.#status = 0;
    this.#said = h("p", { class: "said coming" });
    this.#tell("info", "Running", true);
    fill(this.#figures);
    fill(this.#shown, this.#said);
  }

  /** The answer's head came. */
  head(response) {
    this.#id = response.headers.get("x-constellation-request-id") ?? "";
    this.#status = response.status;
  }

  /** A piece of text came. */
  text(part) {
    this.#first ||= performance.now();
    this.#said.append(part);
  }

  /** All of it came. */
  end({ kind, value, usage, parts }, picture) {
    if (kind === "json") fill(this.#shown, shownJson(value, picture));
    if (kind === "blob") fill(this.#shown, shownBlob(value));
    this.#tell("good", `${this.#status} OK`, false);
    this.#told(usage ?? value?.result?.usage, parts);
  }

  /** It was refused, broke, or was left. */
  fail(error, isCancelled) {
    if (isCancelled) {
      this.#tell("warn", "Cancelled", false);
      if (!this.#said.textContent)
        fill(
          this.#shown,
          h("div", { class: "empty" }, emptiness("Cancelled before anything came.")),
        );
    } else {
      this.#tell("bad", error.status ? `${error.status} · ${error.code}` : "Failed", false);
      const said = this.#said.textContent ? [this.#said] : [];
      fill(this.#shown, said, h("p", { class: "notice bad", role: "alert" }, error.message));
    }
    this.#told(null, 0);
  }

  #tell(kind, text, isBusy) {
    this.badge.className = `badge dot ${kind}`;
    fill(this.badge, text);
    this.element.setAttribute("aria-busy", String(isBusy));
    if (!isBusy) this.#said?.classList.remove("coming");
  }

  #told(usage, parts) {
    const now = performance.now();
    const seconds = (now - (this.#first || this.#began)) / 1000;
    const out = usage?.completion_tokens;
    const figures = [
      ["First part", this.#first ? duration(this.#first - this.#began) : ""],
      ["In all", duration(now - this.#began)],
      ["Parts", parts ? number(parts) : ""],
      ["Tokens in, out", usage ? `${number(usage.prompt_tokens)} → ${number(out)}` : ""],
      [
        "Tokens per s",
        out && this.#first && seconds > 0 ? number(Number((out / seconds).toPrecision(3))) : "",
      ],
    ];
    const link =
      this.#id &&
      h(
        "div",
        null,
        h("dt", null, "Request"),
        h(
          "dd",
          null,
          h("a", { href: `#/requests?${new URLSearchParams({ id: this.#id })}` }, "its timing"),
        ),
      );
    fill(
      this.#figures,
      figures
        .filter(([, value]) => value)
        .map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value))),
      link,
    );
  }
}

/** Let go of the bytes of pictures and sounds that are shown no more. */
function release(shown) {
  for (const each of shown.querySelectorAll(":is(img, audio, a):not(.boxed *)"))
    URL.revokeObjectURL(each.src ?? each.href);
}
