/** A conversation: messages with their roles. */

import { h } from "./dom.js";
import { cross } from "./icons.js";

const ROLES = ["user", "system", "assistant"];

/** The field of a conversation. */
export function messagesField(name, value = [{ role: "user", content: "" }]) {
  const list = h("div", { class: "messages", role: "group", "aria-label": "Messages" });
  const add = h(
    "button",
    {
      type: "button",
      class: "button",
      onclick: () =>
        list
          .insertBefore(message({ role: "user", content: "" }), add)
          .querySelector("textarea")
          .focus(),
    },
    "Add a message",
  );
  list.append(...value.map(message), add);
  const element = h(
    "div",
    { class: "field", "data-field": name },
    h("span", { class: "label" }, "messages"),
    list,
  );
  const read = () => {
    const said = [...list.querySelectorAll(".message")].map((each) => ({
      role: each.querySelector("select").value,
      content: each.querySelector("textarea").value,
    }));
    const meant = said.filter((each) => each.content);
    return meant.length ? meant : undefined;
  };
  return { name, element, read };
}

function message({ role, content }) {
  const row = h(
    "div",
    { class: "message" },
    h(
      "select",
      { "aria-label": "Role", value: role },
      ROLES.map((each) => h("option", { value: each, selected: each === role }, each)),
    ),
    h("textarea", { "aria-label": "Content", rows: 1, value: content }),
    h(
      "button",
      {
        type: "button",
        class: "button plain",
        "aria-label": "Remove the message",
        onclick: () => row.remove(),
      },
      cross(),
    ),
  );
  return row;
}
