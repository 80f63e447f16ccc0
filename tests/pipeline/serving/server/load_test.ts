import { assert, assertEquals, assertMatch } from "@std/assert";
import { hashes, inFolder } from "../../../tasks/support.ts";
import { gpu } from "../../../kernels/support.ts";
import { servingRun } from "../support.ts";
import { HOSTILE, loadServer, noCounts, prepareLoad } from "./load.ts";
import { metric, post, serving, withServer } from "./support.ts";

const wait = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

Deno.test("64 clients with mixed requests and room for two of four experts: right experts, answers as alone, few loads", async () => {
  await inFolder(async (run) => {
    await servingRun(run, 4);
    const load = await prepareLoad(run, { count: 64, experts: 4, gpu });
    await serving(run, ["--memory", String(load.memory), "--queue", "40"], async ({ url }) => {
      const counts = noCounts();
      await loadServer(url, load, { clients: 64, over: (sent) => sent === 2, counts });
      const { answered, refused: _, ...wrong } = counts; // how many depends on time
      assertEquals(wrong, { wrongExpert: 0, different: 0, errors: [] });
      assert(Object.values(answered).every((count) => count >= 16), JSON.stringify(answered));
      const [loads, evictions] = [
        await metric(url, "smalltalk_model_loads"),
        await metric(url, "smalltalk_model_evictions"),
      ];
      assert(loads >= 8 && loads < 128, `${loads} loads of 128 requests for 8 models`);
      assert(evictions > 0, "experts must leave in this test");
      assert(await metric(url, "smalltalk_model_bytes") <= load.memory);
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

    await Promise.all(HOSTILE.map(async ({ does, right, attack }) => {
      assertMatch(await attack(url, ""), right, does);
    }));

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
