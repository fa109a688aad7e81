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
