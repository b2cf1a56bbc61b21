/** A picture or a sound that is sent as base64; without one at hand, an example is drawn. */

import { fill, h } from "./dom.js";
import { bytes, words } from "./format.js";

/** The field of a file. */
export function fileField(name, schema, { isRequired }) {
  const isAudio = name === "audio";
  const shown = h("div");
  let said;
  const control = h("input", {
    type: "file",
    accept: isAudio ? "audio/*" : "image/*",
    id: `field-${name}`,
    onchange: () => control.files[0] && take(control.files[0]),
  });

  async function take(blob) {
    const url = URL.createObjectURL(blob);
    const preview = isAudio
      ? h("audio", { src: url, controls: true })
      : h("img", { class: "preview", src: url, alt: "What is sent" });
    said = { base64: await base64(blob), url };
    fill(shown, preview, h("small", null, bytes(blob.size)));
  }

  const example =
    !isAudio &&
    h(
      "button",
      { type: "button", class: "button", onclick: async () => take(await drawn()) },
      "Draw an example",
    );
  const element = h(
    "div",
    { class: "field", "data-field": name },
    h("label", { for: `field-${name}` }, words(name), isRequired && h("small", null, "required")),
    control,
    example,
    shown,
  );
  return { name, element, read: () => said?.base64, url: () => said?.url, take };
}

/** Read a blob as base64. */
export function base64(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** A red disc and a blue square on white, which the demo models know. */
function drawn() {
  const canvas = h("canvas", { width: 256, height: 256 });
  const pen = canvas.getContext("2d");
  pen.fillStyle = "white";
  pen.fillRect(0, 0, 256, 256);
  pen.fillStyle = "red";
  pen.beginPath();
  pen.arc(84, 92, 52, 0, 2 * Math.PI);
  pen.fill();
  pen.fillStyle = "blue";
  pen.fillRect(144, 140, 84, 84);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}
