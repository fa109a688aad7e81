// Calls every method of portkey-ai's prompt library; prints what came back as one JSON object.
import { Portkey } from 'portkey-ai';

const [baseURL, apiKey] = process.argv.slice(2);
const client = new Portkey({ apiKey, baseURL });
const string = '[{"role":"user","content":"Hi {{name}}"}]';
const variables = { name: 'Ada' };
const seen = {};

const made = await client.prompts.create({
  name: 'HR Bot',
  collection_id: 'c-1',
  string,
  parameters: { temperature: 1 },
  virtual_key: 'azure-1',
  model: 'chat',
  is_raw_template: 0,
});
seen.created = made;
const slug = made.slug;
seen.listed = await client.prompts.list({ collection_id: 'c-1', search: 'hr' });
seen.retrieved = await client.prompts.retrieve(slug);
seen.updated = await client.prompts.update(slug, { string: string.replace('Hi', 'Ho') });
seen.published = await client.prompts.publish(slug, { version: 2 });
seen.versions = await client.prompts.versions.list(slug);
seen.labelled = await client.prompts.versions.update(slug, made.version_id, { label_id: 'production' });
seen.version = await client.prompts.versions.retrieve(slug, made.version_id);

seen.rendered = await client.prompts.render({ promptID: slug, variables, temperature: 2 });
const completion = await client.prompts.completions.create({ promptID: `${slug}@production`, variables, max_tokens: 7 });
seen.completion = { object: completion.object, trace: completion.getHeaders()['trace-id'] };
seen.streamed = '';
for await (const chunk of await client.prompts.completions.create({ promptID: slug, variables, stream: true })) {
  seen.streamed += chunk.choices[0]?.delta?.content ?? '';
}

const partial = await client.prompts.partials.create({ name: 'Greeting', string: 'Hi' });
seen.partial = partial;
seen.partials = await client.prompts.partials.list({});
seen.partialUpdated = await client.prompts.partials.update(partial.slug, { string: 'Ho' });
seen.partialPublished = await client.prompts.partials.publish(partial.slug, { version: 2 });
seen.partialVersions = await client.prompts.partials.versions.list(partial.slug);
seen.partialRetrieved = await client.prompts.partials.retrieve(partial.slug);
seen.partialDeleted = await client.prompts.partials.delete(partial.slug);

const label = await client.labels.create({ name: 'canary', colorCode: '#fff' });
await client.labels.update(label.id, { description: 'first to try' });
seen.label = await client.labels.retrieve(label.id);
seen.labels = await client.labels.list({});
await client.labels.delete(label.id);

const collection = await client.collections.create({ name: 'Support' });
await client.collections.update(collection.id, { name: 'Sales' });
seen.collection = await client.collections.retrieve(collection.id);
seen.collections = await client.collections.list({});
await client.collections.delete(collection.id);

seen.deleted = await client.prompts.delete(slug);
try {
  await client.prompts.retrieve(slug);
} catch (error) {
  seen.error = { status: error.status, message: error.message };
}
console.log(JSON.stringify(seen));
