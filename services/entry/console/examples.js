/** What a model of each task may be asked first. */

const TEXT =
  "Stars are born in clouds of gas. A cloud collapses under its own weight and grows hot. When it is hot enough, hydrogen becomes helium, and the star begins to shine. Small stars shine for a long time. Large ones burn out soon.";

export const EXAMPLES = {
  "text-generation": {
    prompt: "Tell me a story about the stars.",
    messages: [
      { role: "system", content: "You are a friendly assistant." },
      { role: "user", content: "What is a constellation?" },
    ],
  },
  "text-classification": {
    text: "What a wonderful evening under the stars.",
    query: "How are stars born?",
    contexts: ["Stars are born in clouds of gas.", "Bread is made of flour."],
  },
  "text-embeddings": {
    text: "A star is born in a cloud of gas.",
    contexts: ["Stars are born in clouds of gas.", "Bread is made of flour."],
    query: "How are stars born?",
  },
  "multimodal-embeddings": { text: "a red circle" },
  "text-to-image": { prompt: "a red circle and a blue square" },
  "text-to-speech": { prompt: "hello stars", text: "hello stars" },
  "image-text-to-text": {
    prompt: "What color is the circle?",
    messages: [{ role: "user", content: "What color is the circle?" }],
  },
  "image-to-text": { prompt: "Describe the picture." },
  summarization: { input_text: TEXT },
  translation: { text: "the house is red", target_lang: "fr" },
};
