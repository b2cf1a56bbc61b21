// Runs the AI SDK with workers-ai-provider, both as they come from npm, and prints what came back.
//
//     node workers_ai_provider.mjs ADDRESS ACCOUNT TOKEN
//
// The provider has Cloudflare's address built in; its `fetch` option sends the calls elsewhere.

import {
  APICallError,
  embedMany,
  generateText,
  jsonSchema,
  Output,
  stepCountIs,
  streamText,
  tool,
} from "ai";
import { createWorkersAI } from "workers-ai-provider";

const [address, account, token] = process.argv.slice(2);
const CHAT = "@cf/demo/text-generation";
const ASKED = { prompt: "What is the capital of France?", temperature: 0, maxOutputTokens: 40 };

function provider(apiKey) {
  const redirected = (url, init) => fetch(url.replace("https://api.cloudflare.com", address), init);
  return createWorkersAI({ accountId: account, apiKey, fetch: redirected });
}

const workersai = provider(token);

const weather = tool({
  description: "How the weather is.",
  inputSchema: jsonSchema({
    type: "object",
    properties: { city: { enum: ["Oslo", "Paris"] } },
    required: ["city"],
  }),
  execute: async ({ city }) => `It rains in ${city}.`,
});
const CALLING = {
  prompt: "How is it in Oslo?",
  tools: { weather },
  toolChoice: { type: "tool", toolName: "weather" },
};

const CASES = {
  async generateText() {
    const { text, finishReason, usage } = await generateText({ model: workersai(CHAT), ...ASKED });
    return { text, finishReason, usage };
  },

  async streamText() {
    const stream = streamText({ model: workersai(CHAT), ...ASKED });
    const parts = [];
    for await (const part of stream.textStream) parts.push(part);
    return { parts, finishReason: await stream.finishReason, usage: await stream.usage };
  },

  async object() {
    const schema = jsonSchema({
      type: "object",
      properties: { city: { enum: ["Oslo", "Paris"] }, sunny: { type: "boolean" } },
      required: ["city", "sunny"],
    });
    const output = Output.object({ schema });
    return (await generateText({ model: workersai(CHAT), prompt: "Where?", output })).output;
  },

  async toolCall() {
    const asked = await generateText({ model: workersai(CHAT), ...CALLING });
    const { toolName, input } = asked.toolCalls[0];
    return { toolName, input, finishReason: asked.finishReason };
  },

  async streamedToolCall() {
    const stream = streamText({ model: workersai(CHAT), ...CALLING });
    const calls = await stream.toolCalls;
    return { count: calls.length, input: calls[0].input, finishReason: await stream.finishReason };
  },

  async toolLoop() {
    const prepareStep = ({ stepNumber }) => (stepNumber ? { toolChoice: "none" } : {});
    const stopWhen = stepCountIs(2);
    const asked = { ...CALLING, maxOutputTokens: 60, stopWhen, prepareStep };
    const { steps, text } = await generateText({ model: workersai(CHAT), ...asked });
    return { results: steps[0].toolResults.map((each) => each.output), steps: steps.length, text };
  },

  async options() {
    const model = workersai(CHAT, { rejectIfBusy: true, sessionAffinity: "one" });
    return { text: (await generateText({ model, ...ASKED })).text };
  },

  async embed() {
    const model = workersai.textEmbedding("@cf/demo/text-embeddings");
    const { embeddings } = await embedMany({ model, values: ["a cat", "a kitten"] });
    return embeddings.map((each) => each.length);
  },

  async unknownModel() {
    return refused(workersai("@cf/nobody/nothing"));
  },

  async wrongToken() {
    return refused(provider("wrong")(CHAT));
  },

  async badInput() {
    return refused(workersai(CHAT), { maxOutputTokens: 100_000 });
  },
};

async function refused(model, more = {}) {
  try {
    await generateText({ model, ...ASKED, ...more, maxRetries: 0 });
  } catch (error) {
    if (!APICallError.isInstance(error)) throw error;
    const { code } = JSON.parse(error.responseBody).errors[0];
    return { status: error.statusCode, code, isRetryable: error.isRetryable };
  }
  throw new Error("it was not refused");
}

const results = {};
for (const [name, run] of Object.entries(CASES)) {
  try {
    results[name] = await run();
  } catch (error) {
    results[name] = { failed: error.stack };
  }
}
console.log(JSON.stringify(results));
