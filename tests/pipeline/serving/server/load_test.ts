import { assert, assertEquals } from "@std/assert";
import { generate } from "../../../../pipeline/serving/generate.ts";
import { gpu } from "../../../kernels/support.ts";
import { hashes } from "../../../tasks/support.ts";
import { openMixture } from "../../../../pipeline/serving/mixture.ts";
import { inFolder } from "../../../tasks/support.ts";
import { servingRun } from "../support.ts";
import { metric, post, serving, withServer } from "./support.ts";

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Bytes of one expert with the slots that a server gives it. */
async function sizeOf(run: string): Promise<number> {
  const mixture = await openMixture({ gpu, run });
  using lease = await mixture.lease(0);
  const { bytes } = lease.value;
  mixture.close();
  return bytes;
}

Deno.test("a hundred mixed prompts with room for one expert: grouped, each as alone, none loaded twice at once", async () => {
  await inFolder(async (run) => {
    await servingRun(run, 4);
    await serving(run, ["--memory", String(Math.ceil(1.5 * await sizeOf(run)))], async ({ client, url }) => {
      const asked = Array.from({ length: 100 }, (_, i) => ({
        model: ["mixture", "mixture@2", `expert-${i % 4}`][i % 3],
        prompt: `${"the sea and the ship ".slice(i % 7, 7 + i % 13)}${"naïve 日本"[i % 8]}${i}`,
        max_tokens: 1 + i % 9,
        seed: i,
      }));
      const answers = await Promise.all(asked.map((request) => client.completions.create(request)));
      const [loads, evictions] = [
        await metric(url, "smalltalk_model_loads"),
        await metric(url, "smalltalk_model_evictions"),
      ];
      assert(loads >= 4 && loads <= 16 && evictions === loads - 1, `${loads} loads, ${evictions} evictions`);
      for (const [i, { prompt, max_tokens, seed }] of asked.entries()) {
        const { text, routing: { expert } } = answers[i].choices[0] as unknown as {
          text: string;
          routing: { expert: number };
        };
        const alone = await generate({
          gpu,
          run,
          prompt,
          maxNewTokens: max_tokens,
          seed,
          temperature: 1,
          expert,
        });
        assertEquals((await Array.fromAsync(alone)).join(""), text, `prompt ${i}`);
      }
    });
  });
});

Deno.test("an expert that nobody uses leaves, and comes back when it is asked for", async () => {
  await withServer({ args: ["--idle", "0.3"] }, async ({ client, url }) => {
    const request = { model: "expert-0", prompt: "the sea", max_tokens: 3, seed: 1 };
    const first = await client.completions.create(request);
    assertEquals(await metric(url, "smalltalk_models_held"), 1);
    await wait(700);
    assertEquals(await metric(url, "smalltalk_models_held"), 0);
    assertEquals(await metric(url, "smalltalk_model_bytes"), 0);
    assertEquals((await client.completions.create(request)).choices, first.choices);
    assertEquals(await metric(url, "smalltalk_model_loads"), 2);
  });
});

Deno.test("experts that are not served here are a clear 503; the others answer", async () => {
  await withServer({ args: ["--serve-experts", "0,2"] }, async ({ client, url }) => {
    const request = { prompt: "the sea", max_tokens: 3 };
    for (const model of ["expert-0", "expert-2"]) {
      assertEquals((await client.completions.create({ ...request, model })).choices.length, 1);
    }
    const response = await post(`${url}/v1/completions`, { ...request, model: "expert-1" });
    assertEquals([response.status, (await response.json()).error.code], [503, "expert_not_served"]);
  });
});

/** Sends bytes as they are, and reads the first line of what comes back. */
async function raw(url: string, text: string, end = true): Promise<string> {
  const { hostname, port } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  try {
    const bytes = new TextEncoder().encode(text);
    for (let sent = 0; sent < bytes.length;) sent += await connection.write(bytes.subarray(sent));
    if (!end) return "";
    const buffer = new Uint8Array(1024);
    const read = await connection.read(buffer);
    return new TextDecoder().decode(buffer.subarray(0, read ?? 0)).split("\r\n")[0];
  } catch {
    return "closed";
  } finally {
    connection.close();
  }
}

Deno.test("clients that hang up, dawdle or send too much leave the server alive, its places free and its files as they were", async () => {
  await withServer({}, async ({ client, url, run, process, log }) => {
    const before = await hashes(run);
    const request = { model: "mixture", prompt: "the sea", max_tokens: 60, seed: 1 };
    const whole = await client.completions.create(request);

    // Streams that are left after their first piece, and requests that are not waited for.
    const leaving = Array.from({ length: 20 }, async (_, i) => {
      const abort = new AbortController();
      if (i % 2 === 0) {
        setTimeout(() => abort.abort(), 20 * i);
        await client.completions.create({ ...request, seed: i }, { signal: abort.signal }).catch(() => {});
      } else {
        for await (const _ of await client.completions.create({ ...request, seed: i, stream: true })) break;
      }
    });
    await Promise.all(leaving);
    let running = NaN;
    for (let i = 0; i < 100 && running !== 0; i++) {
      running = await metric(url, "smalltalk_requests_running") +
        await metric(url, "smalltalk_requests_waiting");
      if (running !== 0) await wait(50);
    }
    assertEquals(running, 0);

    const body = JSON.stringify(request);
    const head = "POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n";
    const slow = Array.from(
      { length: 10 },
      () => raw(url, `${head}content-length: ${body.length}\r\n\r\n{`, false),
    );
    const large = raw(url, `${head}content-length: 104857600\r\n\r\n${"x".repeat(1e5)}`);
    const lines = Array.from({ length: 10_000 }, (_, i) => `x-${i}: ${i}\r\n`).join("");
    const many = raw(url, `${head}${lines}content-length: 0\r\n\r\n`);
    const chunked = raw(url, `${head}transfer-encoding: chunked\r\n\r\nzz\r\n`);
    const foreign = raw(url, "\x16\x03\x01\x02\x00\x01 no HTTP\r\n\r\n");
    assertEquals(await large, "HTTP/1.1 413 Payload Too Large");
    assert(/ 431 | 400 |^$|closed/.test(await many), await many);
    assert(/ 400 |^$|closed/.test(await chunked), await chunked);
    assert(/ 400 |^$|closed/.test(await foreign), await foreign);
    await Promise.all(slow);

    assertEquals((await client.completions.create(request)).choices, whole.choices);
    assertEquals((await fetch(`${url}/health`).then((response) => response.json())).status, "ok");
    assert(!/bug|TypeError|RangeError/.test(log()), log());
    const stream = await client.completions.create({ ...request, stream: true });
    for await (const _ of stream) {
      process.kill("SIGKILL");
      break;
    }
    await process.status;
    assertEquals(await hashes(run), before);
  });
});
