// OpenAI's client for JavaScript. Started by test_node.py, which says where the servers are.

import assert from "node:assert/strict";
import { test } from "node:test";

import OpenAI from "openai";

const MODEL = "tidepool-3m";
const open = (url, apiKey, more) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0, ...more });
const client = open(process.env.SERVED, "unused");
const messages = [{ role: "user", content: "Tell me about a fox." }];
const add = {
  type: "function",
  function: {
    name: "add",
    parameters: {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "integer" } },
      required: ["a", "b"],
    },
  },
};

test("a chat, whole and streamed", async () => {
  const ask = { model: MODEL, messages, max_tokens: 20, temperature: 0 };
  const whole = await client.chat.completions.create(ask);
  let text = "";
  let usage = null;
  const stream = await client.chat.completions.create({
    ...ask,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of stream) {
    text += chunk.choices[0]?.delta?.content ?? "";
    usage = chunk.usage ?? usage;
  }
  assert.equal(text, whole.choices[0].message.content);
  assert.deepEqual(usage.completion_tokens, whole.usage.completion_tokens);
});

test("a call, gathered from its pieces", async () => {
  const stream = client.chat.completions.stream({
    model: MODEL,
    messages,
    tools: [add],
    tool_choice: "required",
    max_tokens: 200,
    temperature: 0,
  });
  const { choices } = await stream.finalChatCompletion();
  const [call] = choices[0].message.tool_calls;
  assert.equal(call.function.name, "add");
  assert.deepEqual(Object.keys(JSON.parse(call.function.arguments)).sort(), ["a", "b"]);
});

test("a schema holds", async () => {
  const schema = {
    type: "object",
    properties: { colour: { enum: ["red", "green"] } },
    required: ["colour"],
    additionalProperties: false,
  };
  const answer = await client.chat.completions.create({
    model: MODEL,
    messages,
    max_tokens: 100,
    response_format: { type: "json_schema", json_schema: { name: "fox", schema } },
  });
  assert.ok(["red", "green"].includes(JSON.parse(answer.choices[0].message.content).colour));
});

test("completions, embeddings and models", async () => {
  const answer = await client.completions.create({ model: MODEL, prompt: "Once upon", max_tokens: 4 });
  assert.ok(answer.choices[0].text);
  const vectors = await client.embeddings.create({ model: "vectors", input: ["a fox", "a bear"] });
  assert.deepEqual(vectors.data.map((each) => each.embedding.length), [256, 256]);
  const models = [];
  for await (const model of client.models.list()) models.push(model.id);
  assert.deepEqual(models, [MODEL, "vectors", "scores"]);
});

test("errors are of their classes", async () => {
  const bad = client.chat.completions.create({ model: MODEL, messages, temperature: 5 });
  await assert.rejects(bad, (error) => error instanceof OpenAI.BadRequestError && error.param === "temperature");
  const missing = client.chat.completions.create({ model: "gpt-7", messages });
  await assert.rejects(missing, (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
  const stranger = open(process.env.NARROW, "mp-nobody").models.list();
  await assert.rejects(stranger, (error) => error instanceof OpenAI.AuthenticationError);
  const late = client.chat.completions.create({
    model: MODEL,
    messages,
    max_tokens: 900,
    ignore_eos: true,
    timeout: 0.05,
  });
  await assert.rejects(late, (error) => error.status === 504 && error.code === "deadline_exceeded");
});

test("who is told to come back does", async () => {
  const patient = open(process.env.NARROW, "mp-wide", { maxRetries: 20 });
  const ask = { model: MODEL, messages, max_tokens: 200, ignore_eos: true };
  const answers = await Promise.all(Array.from({ length: 5 }, () => patient.chat.completions.create(ask)));
  assert.ok(answers.every((answer) => answer.usage.completion_tokens === 200));
});
