import { assert, assertEquals, assertMatch } from "@std/assert";
import { hashes } from "../../../tasks/support.ts";
import { gpu } from "../../../kernels/support.ts";
import { inServingRun } from "../support.ts";
import { besiege, HOSTILE, loadServer, noCounts, prepareLoad } from "./load.ts";
import { until } from "../../../slurm.ts";
import { metric, serving, withServer } from "./support.ts";

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Waits until nothing waits or runs any more. */
async function nothingRuns(url: string): Promise<void> {
  let count = NaN;
  for (let i = 0; i < 600 && count !== 0; i++) {
    if (i > 0) await wait(50);
    count = await metric(url, "smalltalk_requests_running") +
      await metric(url, "smalltalk_requests_waiting");
  }
  assertEquals(count, 0);
}

Deno.test("some seconds of 64 clients with mixed requests and of hostile ones, with room for two of four experts: right experts, answers as alone, clear errors", () =>
  inServingRun(4, async (run) => {
    const load = await prepareLoad(run, { count: 64, experts: 4, gpu });
    const key = "the key";
    await Deno.writeTextFile(`${run}/keys`, key);
    const before = await hashes(run);
    const args = [
      "--memory",
      String(load.memory),
      "--queue",
      "40",
      "--api-key-file",
      `${run}/keys`,
    ];
    await serving(run, args, async ({ url, log }) => {
      const counts = noCounts();
      const { hostile, wrong } = await besiege(url, load, { seconds: 5, key, counts });
      const { answered, refused: _, ...rest } = counts; // how many depends on time
      assertEquals([rest, wrong], [{ wrongExpert: 0, different: 0, errors: [] }, []]);
      const all = Object.values(answered);
      assert(all.every((count) => count > 0), JSON.stringify(answered));
      assertEquals(hostile.size, HOSTILE.length);
      const loads = await metric(url, "smalltalk_model_loads");
      assert(loads < all.reduce((a, b) => a + b), `${loads} loads: ${JSON.stringify(answered)}`);
      assert(await metric(url, "smalltalk_model_evictions") > 0, "experts must leave in this test");
      assert(await metric(url, "smalltalk_model_bytes") <= load.memory);
      await nothingRuns(url);
      assertEquals((await fetch(`${url}/health`).then((response) => response.json())).status, "ok");
      assert(!/bug|TypeError|RangeError/.test(log()), log());
      assertEquals(await hashes(run), before);
    });
  }));

Deno.test("fifty mixed prompts with room for one expert come grouped by expert, each as alone", () =>
  inServingRun(4, async (run) => {
    const all = await prepareLoad(run, { count: 75, experts: 4, gpu });
    // Those that write: an expert that scores is another thing to load.
    const isAsked = all.requests.map(({ kind }) => kind !== "echo");
    const own = <Value>(values: Value[]) => values.filter((_, i) => isAsked[i]).slice(0, 50);
    const load = { ...all, requests: own(all.requests), alone: own(all.alone) };
    await serving(run, ["--memory", String(Math.floor(1.5 * all.one))], async ({ url }) => {
      const counts = noCounts();
      await loadServer(url, load, { clients: 50, over: (sent) => sent === 1, counts });
      const { answered: { completion, stream, chat }, ...rest } = counts;
      assertEquals(completion + stream + chat, 50);
      assertEquals(rest, { refused: 0, wrongExpert: 0, different: 0, errors: [] });
      const loads = await metric(url, "smalltalk_model_loads");
      assert(loads >= 4 && loads <= 30, `${loads} loads for 50 prompts and 4 experts`);
      assertEquals(await metric(url, "smalltalk_models_held"), 1);
    });
  }));

Deno.test("clients that hang up free their places, and a server that is killed in the middle leaves its files as they were", () =>
  withServer({}, async ({ client, url, run, process, log }) => {
    const before = await hashes(run);
    const request = { model: "mixture", prompt: "the sea", max_tokens: 60, seed: 1 };
    const whole = await client.completions.create(request);

    // Streams that are left after their first piece, and requests that are not waited for.
    const leaving = Array.from({ length: 20 }, async (_, i) => {
      const abort = new AbortController();
      if (i % 2 === 0) {
        setTimeout(() => abort.abort(), 20 * i);
        const own = { ...request, seed: i, user: "x".repeat(5000) };
        await client.completions.create(own, { signal: abort.signal }).catch(() => {});
      } else {
        for await (
          const _ of await client.completions.create({ ...request, seed: i, stream: true })
        ) break;
      }
    });
    await Promise.all(leaving);
    await nothingRuns(url);

    // One that is not waited for once it is being answered.
    const abort = new AbortController();
    const left = client.completions.create(request, { signal: abort.signal }).catch(() => {});
    await until("a request", async () => await metric(url, "smalltalk_requests_running") > 0);
    abort.abort();
    await left;
    await nothingRuns(url);
    assertMatch(log(), /POST \/v1\/completions 499 /);
    assertEquals((await client.completions.create(request)).choices, whole.choices);
    assert(!/bug|TypeError|RangeError/.test(log()), log());
    const stream = await client.completions.create({ ...request, stream: true });
    for await (const _ of stream) {
      process.kill("SIGKILL");
      break;
    }
    await process.status;
    assertEquals(await hashes(run), before);
  }));
