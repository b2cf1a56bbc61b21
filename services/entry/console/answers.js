/** What a model answered, shown by what it is: text, labels, vectors, pictures, sounds. */

import { ranked } from "./bars.js";
import { h, s } from "./dom.js";
import { bytes, number } from "./format.js";

const TEXTS = ["response", "description", "summary", "translated_text", "text"];
const MOST = 20_000; // characters of JSON that are shown

/** Show the value of an answer in JSON. */
export function shownJson(answer, picture) {
  const value =
    answer !== null && typeof answer === "object" && "success" in answer ? answer.result : answer;
  return [
    ...recognized(value, picture),
    h(
      "details",
      { open: recognized(value, picture).length === 0 },
      h("summary", null, "JSON"),
      h("pre", { tabindex: 0 }, cut(JSON.stringify(value, null, 2))),
    ),
  ];
}

/** Show bytes by their type. */
export function shownBlob(blob) {
  const url = URL.createObjectURL(blob);
  const about = h("small", null, `${blob.type || "bytes"}, ${bytes(blob.size)}`);
  if (blob.type.startsWith("image/"))
    return [h("img", { src: url, alt: "What the model drew" }), about];
  if (blob.type.startsWith("audio/"))
    return [h("audio", { src: url, controls: true, "aria-label": "What the model said" }), about];
  return [h("a", { class: "button", href: url, download: "answer" }, "Save the answer"), about];
}

function recognized(value, picture) {
  if (typeof value === "string") return [h("p", { class: "said" }, value)];
  if (Array.isArray(value) && value.every((each) => "label" in each)) return labels(value, picture);
  if (value === null || typeof value !== "object") return [];
  if (Array.isArray(value.data) && value.shape) return vectors(value);
  if (Array.isArray(value.response) && value.response.every((each) => "score" in each))
    return [
      ranked(
        value.response.map((each) => ({ name: `text ${each.id + 1}`, value: each.score })),
        { empty: "Nothing", show: number },
      ),
    ];
  if (typeof value.image === "string") return shownBlob(blobOf(value.image, "image/png"));
  if (typeof value.audio === "string") return shownBlob(blobOf(value.audio, "audio/wav"));
  const text = TEXTS.map((name) => value[name]).find((each) => typeof each === "string" && each);
  return text ? [h("p", { class: "said" }, text)] : [];
}

function labels(found, picture) {
  const rows = found
    .slice(0, 12)
    .map((each, at) => ({ name: each.label, value: each.score, color: String((at % 3) + 1) }));
  const boxes = found.filter((each) => each.box);
  return [
    boxes.length > 0 && picture && boxed(boxes, picture),
    ranked(rows, { empty: "Nothing was found.", show: number }),
  ].filter(Boolean);
}

function boxed(boxes, picture) {
  const image = h("img", { src: picture, alt: "" });
  const place = h("div", { class: "boxed" }, image);
  image.onload = () => {
    const { naturalWidth: width, naturalHeight: height } = image;
    place.append(
      s(
        "svg",
        {
          viewBox: `0 0 ${width} ${height}`,
          role: "img",
          "aria-label": boxes.map((each) => each.label).join(", "),
        },
        boxes.map(({ box }, at) =>
          s("rect", {
            class: `c${(at % 3) + 1}`,
            x: box.xmin,
            y: box.ymin,
            width: box.xmax - box.xmin,
            height: box.ymax - box.ymin,
          }),
        ),
      ),
    );
  };
  return place;
}

function vectors({ data, shape }) {
  const first = data[0] ?? [];
  const most = Math.max(...first.map(Math.abs)) || 1;
  const path = first
    .map((value, at) => `M${at + 0.5},20V${(20 - (19 * value) / most).toFixed(2)}`)
    .join("");
  return [
    h("p", null, `${shape.join(" × ")} numbers; the first vector:`),
    s(
      "svg",
      {
        class: "vector",
        viewBox: `0 0 ${first.length || 1} 40`,
        preserveAspectRatio: "none",
        role: "img",
        "aria-label": "The first vector's values",
      },
      s("path", { class: "c1", d: path }),
    ),
  ];
}

function blobOf(text, type) {
  const raw = atob(text.slice(text.indexOf(",") + 1));
  return new Blob([Uint8Array.from(raw, (each) => each.charCodeAt(0))], { type });
}

function cut(text) {
  return text.length > MOST
    ? `${text.slice(0, MOST)}\n… ${number(text.length - MOST)} characters more`
    : text;
}
