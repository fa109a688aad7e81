// Reads {baseURL, apiKey, config} from the first argument, makes one call, prints what came of it.
import { createRequire } from "node:module";
import { join } from "node:path";

// The packages stand in a folder of their own, which SDKS names.
const { Portkey } = createRequire(join(process.env.SDKS, "package.json"))("portkey-ai");

const { baseURL, apiKey, config } = JSON.parse(process.argv[2]);
const client = new Portkey({ baseURL, apiKey, config });
try {
  const answer = await client.chat.completions.create({
    model: "chat",
    messages: [{ role: "user", content: "hi" }],
  });
  const text = answer.choices[0].message.content;
  console.log(JSON.stringify({ text, headers: answer.getHeaders() }));
} catch (error) {
  console.log(JSON.stringify({ status: error.status, message: error.message }));
}
