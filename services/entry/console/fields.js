/** A field for each kind of value that a JSON Schema has: `element` to show, `read` to ask. */

import { h } from "./dom.js";
import { fileField } from "./file_field.js";
import { number, words } from "./format.js";
import { messagesField } from "./messages_field.js";

const LONG = new Set([
  "prompt",
  "text",
  "input_text",
  "query",
  "negative_prompt",
  "initial_prompt",
  "prefix",
]);

/** Return the field of one property; `read` returns undefined where nothing was said. */
export function field(name, schema, { isRequired = false, value } = {}) {
  if (schema.contentEncoding === "base64") return fileField(name, schema, { isRequired });
  if (name === "messages") return messagesField(name, value);
  if (schema.enum) return selectField(name, schema, isRequired);
  if (schema.type === "boolean") return checkField(name, schema);
  if (schema.type === "number" || schema.type === "integer")
    return numberField(name, schema, isRequired);
  if (schema.type === "string" || schema.anyOf?.some((each) => each.type === "string"))
    return textField(name, isRequired, value);
  if (isLines(schema)) return linesField(name, schema, value);
  return jsonField(name, isRequired);
}

/** A field with its label, and what is wrong with it. */
export function labelled(name, control, { about = "", isRequired = false } = {}) {
  control.id = `field-${name}`;
  return h(
    "div",
    { class: "field", "data-field": name },
    h(
      "label",
      { for: control.id },
      words(name),
      about && h("small", null, about),
      isRequired && h("small", null, "required"),
    ),
    control,
  );
}

function textField(name, isRequired, value = "") {
  const control = LONG.has(name)
    ? h("textarea", { rows: 3, value })
    : h("input", { type: "text", value });
  return {
    name,
    element: labelled(name, control, { isRequired }),
    read: () => control.value || undefined,
  };
}

function numberField(name, schema, isRequired) {
  const { minimum: min, maximum: max } = schema;
  const hasRange = min !== undefined && max !== undefined && max < 1e6;
  const about = hasRange ? `${number(min)} to ${number(max)}` : "";
  const control = h("input", {
    type: "number",
    min,
    max,
    step: schema.type === "integer" ? 1 : "any",
    placeholder: schema.default ?? "",
  });
  return {
    name,
    element: labelled(name, control, { about, isRequired }),
    read: () => (control.value === "" ? undefined : Number(control.value)),
  };
}

function checkField(name, schema) {
  const control = h("input", {
    type: "checkbox",
    checked: schema.default === true,
    id: `field-${name}`,
  });
  const element = h("label", { class: "check", "data-field": name }, control, words(name));
  return {
    name,
    element,
    read: () => (control.checked === (schema.default === true) ? undefined : control.checked),
  };
}

function selectField(name, schema, isRequired) {
  const first = isRequired
    ? []
    : [h("option", { value: "" }, schema.default ? `${schema.default} (default)` : "not said")];
  const control = h(
    "select",
    null,
    first,
    schema.enum.map((each) => h("option", { value: each }, each)),
  );
  return {
    name,
    element: labelled(name, control, { isRequired }),
    read: () => control.value || undefined,
  };
}

function isLines(schema) {
  const { items } = schema;
  return (
    schema.type === "array" && (items?.type === "string" || items?.properties?.text !== undefined)
  );
}

function linesField(name, schema, value = []) {
  const control = h("textarea", { rows: 4, value: value.join("\n") });
  const isPlain = schema.items.type === "string";
  const read = () => {
    const lines = control.value.split("\n").filter((line) => line.trim());
    return lines.length ? lines.map((text) => (isPlain ? text : { text })) : undefined;
  };
  return { name, element: labelled(name, control, { about: "one per line" }), read };
}

function jsonField(name, isRequired) {
  const control = h("textarea", { class: "code", rows: 2, spellcheck: "false" });
  const read = () => {
    if (!control.value.trim()) return undefined;
    try {
      return JSON.parse(control.value);
    } catch (error) {
      throw Object.assign(new Error(`${words(name)} is no JSON: ${error.message}`), {
        pointer: `/${name}`,
      });
    }
  };
  return { name, element: labelled(name, control, { about: "JSON", isRequired }), read };
}
