/** Asks for a token, and says what is wrong with it. */

import { json } from "./api.js";
import { fill, h } from "./dom.js";
import { forget, keep } from "./session.js";

/** Show the question in `root`; `onDone` is called once a token was taken. */
export function signIn(root, onDone, said = "") {
  const problem = h("p", { class: "problem", role: "alert", id: "problem" }, said);
  const field = h("input", {
    type: "password",
    id: "token",
    name: "token",
    required: true,
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "problem hint",
  });
  const button = h("button", { class: "button main", type: "submit" }, "Sign in");

  async function submit(event) {
    event.preventDefault();
    const token = field.value.trim();
    if (!token) return say("Enter a token.");
    button.disabled = true;
    try {
      keep(token);
      await json("console/api/world");
      onDone();
    } catch (error) {
      forget();
      say(why(error));
    } finally {
      button.disabled = false;
    }
    return undefined;
  }

  function say(text) {
    fill(problem, text);
    field.setAttribute("aria-invalid", "true");
    field.focus();
  }

  fill(
    root,
    h(
      "main",
      { class: "sign-in", id: "main" },
      h(
        "form",
        { onsubmit: submit, novalidate: true },
        h("img", { src: new URL("mark.svg", import.meta.url).href, alt: "" }),
        h("h1", null, "Constellation"),
        h(
          "div",
          { class: "field" },
          h("label", { for: "token" }, "API token"),
          field,
          problem,
          h(
            "small",
            { id: "hint" },
            h("code", null, "constellation up"),
            " prints one, and ",
            h("code", null, "constellation token create"),
            " makes more. It is kept in this tab alone.",
          ),
        ),
        button,
      ),
    ),
  );
  field.focus();
}

function why(error) {
  if (error.status === 401) return "This token is not known here, or it has expired.";
  if (error.status) return `This token does not open the console: ${error.message}.`;
  return "The entry does not answer. Is it running?";
}
