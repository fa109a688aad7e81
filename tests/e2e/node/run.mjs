// Runs one scenario with one SDK: node run.mjs SCENARIO, its options as JSON on standard input.
// Prints one line of JSON: what the SDK's user would see.
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const require = createRequire(join(process.env.SDKS, 'package.json'));
const given = JSON.parse(readFileSync(0, 'utf8'));
const messages = [{ role: 'user', content: 'Say this is a test' }];

function client() {
  const { sdk, options } = given;
  if (sdk === 'portkey') return new (require('portkey-ai').Portkey)(options);
  if (sdk === 'portkey-seed') return new (require('portkey-ai-seed').Portkey)(options);
  const openai = require('openai');
  if (sdk === 'azure') return new openai.AzureOpenAI(options);
  if (sdk === 'openai-with-headers') {
    const headers = require('portkey-ai').createHeaders(given.headers);
    return new openai.OpenAI({ ...options, defaultHeaders: headers });
  }
  return new openai.OpenAI(options);
}

async function text(stream) {
  let said = '';
  for await (const chunk of stream) said += chunk.choices[0]?.delta?.content ?? '';
  return said;
}

const scenarios = {
  chat: async (c) => {
    const answer = await c.chat.completions.create({ messages, model: given.model });
    return { text: answer.choices[0].message.content, headers: answer.getHeaders?.() };
  },
  stream: async (c) => ({
    text: await text(await c.chat.completions.create({ messages, model: given.model, stream: true })),
  }),
  // A per-call option; the SDK keeps it for later calls.
  override: async (c) => {
    const answer = await c.chat.completions.create(
      { messages, model: given.model }, { virtualKey: given.virtualKey, traceID: 'trace-node' });
    return { text: answer.choices[0].message.content };
  },
  images: async (c) => {
    const answer = await c.images.generate({ prompt: 'Lucy in the sky with diamonds', size: '1024x1024' });
    return { start: Buffer.from(answer.data[0].b64_json, 'base64').subarray(1, 4).toString() };
  },
  embeddings: async (c) => {
    const answer = await c.embeddings.create({ input: 'hello world', model: 'vectors' });
    return { count: answer.data[0].embedding.length };
  },
  responses: async (c) => {
    const made = await c.responses.create({ input: 'hello', model: given.model });
    return { text: made.output_text ?? made.output[0].content[0].text, id: made.id };
  },
  transcription: async (c) => {
    const { createReadStream } = require('node:fs');
    const answer = await c.audio.transcriptions.create({ file: createReadStream(given.file), model: 'ears' });
    return { text: answer.text };
  },
  speech: async (c) => {
    const answer = await c.audio.speech.create({
      model: 'voice', voice: 'alloy', input: 'hello', response_format: 'wav' });
    return { start: Buffer.from(await answer.arrayBuffer()).subarray(0, 4).toString() };
  },
  files: async (c) => {
    const { createReadStream } = require('node:fs');
    const made = await c.files.create({ file: createReadStream(given.file), purpose: 'batch' });
    const batch = await c.batches.create({
      input_file_id: made.id, endpoint: '/chat/completions', completion_window: '24h' });
    await c.batches.retrieve(batch.id);
    const done = await c.batches.retrieve(batch.id);
    return { status: done.status };
  },
  models: async (c) => {
    const list = await c.models.list();
    return { ids: list.data.map((model) => model.id) };
  },
  virtualKeys: async (c) => {
    const made = await c.virtualKeys.create(given.create);
    const read = await c.virtualKeys.retrieve({ slug: made.slug });
    const list = await c.virtualKeys.list();
    return { made, read, list };
  },
  logs: async (c) => {
    const { trace } = given;
    const one = { request: { url: 'https://tool.example', method: 'GET' }, response: { status: 200 },
      metadata: { traceId: trace, _user: 'u-node' } };
    const written = await c.logs.create([one, one]);
    const wanted = { filters: { trace_id: trace }, requestedData: ['id', 'trace_id', 'cost'], description: 'd' };
    const made = await c.logs.exports.create({ ...wanted, workspaceId: 'w' });
    const exportId = made.id;
    const updated = await c.logs.exports.update({ exportId, workspaceId: 'w', ...wanted });
    const listed = await c.logs.exports.list({ workspaceId: 'w' });
    await c.logs.exports.start({ exportId });
    const state = (await c.logs.exports.retrieve({ exportId })).status;
    await c.logs.exports.cancel({ exportId });
    return { written, made, updated, listed: listed.total, state,
      stopped: (await c.logs.exports.retrieve({ exportId })).status };
  },
  feedback: async (c) => {
    const made = await c.feedback.create({ traceID: given.trace, value: 5, weight: 0.5, metadata: { by: 'node' } });
    const feedbackID = made.feedback_ids[0];
    return { made, updated: await c.feedback.update({ feedbackID, value: 7, weight: 1 }) };
  },
  analytics: async (c) => {
    const { range } = given;
    const graphs = {};
    for (const name of Object.getOwnPropertyNames(Object.getPrototypeOf(c.analytics.graphs))) {
      if (name !== 'constructor') graphs[name] = await c.analytics.graphs[name](range);
    }
    const groups = { users: await c.analytics.groups.users(range), aiModels: await c.analytics.groups.aiModels(range),
      workspaces: await c.analytics.groups.workspaces(range),
      metadata: await c.analytics.groups.metadata('_user', range) };
    const grouped = {};
    for (const by of ['ai_service', 'model', 'status_code', 'api_key', 'config', 'workspace', 'provider', 'prompt']) {
      grouped[by] = await c.analytics.groups.groupedData(by, { ...range, columns: 'requests,cost' });
    }
    return { graphs, groups, grouped, cache: await c.analytics.summary.cache(range) };
  },
  apiKeys: async (c) => {
    const made = await c.apiKeys.create(given.create);
    const { id } = made;
    await c.apiKeys.update({ id, name: 'renamed' });
    const read = await c.apiKeys.retrieve({ id });
    const list = await c.apiKeys.list({ page_size: 100 });
    await c.apiKeys.delete({ id });
    return { made, read, total: list.total, left: (await c.apiKeys.list({})).total };
  },
};

try {
  console.log(JSON.stringify({ ok: await scenarios[process.argv[2]](client()) }));
} catch (error) {
  console.log(JSON.stringify({ error: { name: error.constructor.name, status: error.status, message: error.message } }));
}
