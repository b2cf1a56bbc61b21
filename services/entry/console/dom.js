/** Elements, made of values: what comes from users and models is text, and never HTML. */

const SVG = "http://www.w3.org/2000/svg";
const PROPERTIES = new Set([
  "value",
  "checked",
  "selected",
  "disabled",
  "hidden",
  "open",
  "indeterminate",
]);

/** Handlers of an element by property name, so that `morph` can hand them on. */
export const HANDLERS = Symbol("handlers");

/** Return an element; `props` are attributes, properties of forms, and handlers as `onclick`. */
export function h(tag, props, ...children) {
  return filled(document.createElement(tag), props, children);
}

/** Return an element of SVG. */
export function s(tag, props, ...children) {
  return filled(document.createElementNS(SVG, tag), props, children);
}

/** Put these children in the place of those that an element has. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(isShown).map(node));
  return element;
}

function filled(element, props, children) {
  const handlers = {};
  for (const [name, value] of Object.entries(props ?? {})) {
    if (value === undefined || value === null) continue;
    if (name.startsWith("on")) handlers[name] = element[name] = value;
    else if (PROPERTIES.has(name)) element[name] = value;
    else if (value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element[HANDLERS] = handlers;
  element.append(...children.flat(Infinity).filter(isShown).map(node));
  // A select has no value before it has options.
  if (props && props.value !== undefined && element instanceof HTMLSelectElement)
    element.value = props.value;
  return element;
}

function isShown(child) {
  return child !== null && child !== undefined && child !== false && child !== "";
}

function node(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}
