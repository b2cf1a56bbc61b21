/** A form made of a model's JSON Schema: what must be said first, all else behind "More". */

import { EXAMPLES } from "./examples.js";
import { field } from "./fields.js";
import { fill, h } from "./dom.js";
import { words } from "./format.js";

/** Return {element, read, mark}: `read` makes the body, `mark` shows where a refusal points. */
export function form(model, schema) {
  const properties = schema.properties ?? {};
  const examples = EXAMPLES[model.task] ?? {};
  const ways = alternatives(schema);
  const first = Object.keys(properties).filter((name) =>
    isFirst(name, properties[name], schema, ways, model),
  );
  const made = Object.fromEntries(
    Object.entries(properties).map(([name, each]) => [
      name,
      field(name, each, {
        isRequired: (schema.required ?? []).includes(name),
        value: examples[name],
      }),
    ]),
  );
  let way = ways[0] ?? [];
  const others = new Set(ways.flat());
  const isMeant = (name) => !others.has(name) || way.includes(name);

  const top = h("div", { class: "form" });
  const rest = Object.keys(properties).filter((name) => !first.includes(name));
  const more =
    rest.length > 0 &&
    h(
      "details",
      null,
      h("summary", null, `More options (${rest.length})`),
      h(
        "div",
        { class: "row" },
        rest.map((name) => made[name].element),
      ),
    );

  function draw() {
    const chooser =
      ways.length > 1 &&
      h(
        "div",
        { class: "choices", role: "group", "aria-label": "What to send" },
        ways.map((each) =>
          h(
            "button",
            {
              type: "button",
              "aria-pressed": String(each === way),
              onclick: () => {
                way = each;
                draw();
              },
            },
            each.map(words).join(" and "),
          ),
        ),
      );
    fill(
      top,
      chooser,
      first.filter(isMeant).map((name) => made[name].element),
      more,
    );
  }

  draw();
  return {
    element: top,
    read: () => body(Object.keys(properties).filter(isMeant), made),
    mark: (pointer) => mark(top, pointer),
    picture: () => made.image?.url?.(),
  };
}

function alternatives(schema) {
  const ways = schema.oneOf ?? schema.anyOf ?? [];
  return ways.every((each) => each.required) ? ways.map((each) => each.required) : [];
}

function isFirst(name, schema, whole, ways, model) {
  const isInput = schema.contentEncoding === "base64" && model.task !== "text-to-image";
  return isInput || (whole.required ?? []).includes(name) || ways.flat().includes(name);
}

function body(names, made) {
  const said = names.map((name) => [name, made[name].read()]);
  return Object.fromEntries(said.filter(([, value]) => value !== undefined));
}

function mark(top, pointer) {
  for (const each of top.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
  const name = pointer.split("/")[1];
  const control =
    name && top.querySelector(`[data-field="${CSS.escape(name)}"] :is(input, textarea, select)`);
  control?.setAttribute("aria-invalid", "true");
  control?.focus();
}
