/**
 * Makes one tree of elements like another in place, so that focus, selections and what is
 * pointed at stay where they are while values change.
 */

import { HANDLERS } from "./dom.js";

/** Make `old` like `fresh`, and return what stands there then. */
export function morph(old, fresh) {
  if (!isAlike(old, fresh)) {
    old.replaceWith(fresh);
    return fresh;
  }
  if (old.nodeType === Node.TEXT_NODE) {
    if (old.data !== fresh.data) old.data = fresh.data;
    return old;
  }
  attributes(old, fresh);
  handlers(old, fresh);
  children(old, fresh);
  properties(old, fresh);
  return old;
}

/** Make the children of `parent` like these. */
export function morphInto(parent, ...fresh) {
  const shell = parent.cloneNode(false);
  shell.append(...fresh.flat(Infinity).filter(Boolean));
  children(parent, shell);
}

function isAlike(old, fresh) {
  return (
    old.nodeType === fresh.nodeType &&
    old.nodeName === fresh.nodeName &&
    keyOf(old) === keyOf(fresh)
  );
}

function keyOf(node) {
  return node.nodeType === Node.ELEMENT_NODE ? node.getAttribute("data-key") : null;
}

function attributes(old, fresh) {
  for (const { name } of [...old.attributes])
    if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes)
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

function handlers(old, fresh) {
  const now = fresh[HANDLERS] ?? {};
  for (const name of Object.keys(old[HANDLERS] ?? {})) if (!(name in now)) old[name] = null;
  Object.assign(old, now);
  old[HANDLERS] = now;
}

function properties(old, fresh) {
  for (const name of ["value", "checked", "disabled"]) {
    if (name in fresh && old !== document.activeElement && old[name] !== fresh[name])
      old[name] = fresh[name];
  }
}

function children(old, fresh) {
  const keyed = new Map();
  for (const each of old.children) if (keyOf(each) !== null) keyed.set(keyOf(each), each);
  let at = old.firstChild;
  for (const wanted of [...fresh.childNodes]) {
    const known = keyOf(wanted) !== null ? keyed.get(keyOf(wanted)) : at;
    if (known && known !== at) old.insertBefore(known, at);
    if (!known || !isAlike(known, wanted)) {
      old.insertBefore(wanted, at);
      continue;
    }
    if (known === at) at = at.nextSibling;
    morph(known, wanted);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}
