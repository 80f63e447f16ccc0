import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { parseUpstreams } from "../../../../pipeline/serving/server/addresses.ts";
import { inFolder } from "../../../tasks/support.ts";
import { byteTokenizer, inServingRun, servingRun } from "../support.ts";
import { post, type Running, serving } from "./support.ts";

Deno.test("parseUpstreams() reads experts with their addresses, and refuses anything else", () => {
  const read = parseUpstreams("0=http://10.0.0.1:8000,12=https://host/v1/,");
  assertEquals([...read], [[0, "http://10.0.0.1:8000"], [12, "https://host"]]);
  const foreign = "0=http://:8000 0=http://a:99999 0=http://a?b=c 0=http://a#b 0=http://me:key@a";
  for (const text of `, ,, http://x 0=x 0=http://a,0=http://b a=http://b ${foreign}`.split(" ")) {
    assertThrows(() => parseUpstreams(text), InputError, "upstream");
  }
});

/** A server of another kind. */
const answering = (answer: (request: Request) => Response | Promise<Response>) =>
  Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, answer);

Deno.test("a router without experts forwards to servers that hold them: the same texts; who is away is a clear 503", () =>
  inFolder(async (folder) => {
    const [whole, router] = [`${folder}/whole`, `${folder}/router`];
    await servingRun(whole);
    await servingRun(router);
    await Deno.remove(`${router}/experts`, { recursive: true });
    const keys = `${folder}/keys`;
    await Deno.writeTextFile(keys, "the key\n");
    const own = await serving2(whole, ["--serve-experts", "0,1", "--api-key-file", keys]);
    const mute = answering(async (request) => {
      if (new URL(request.url).pathname === "/v1/models") {
        return Response.json({ data: [{ id: "other" }] });
      }
      assertEquals((await request.json()).model, "other");
      return new Response(new ReadableStream({ start() {} }), {
        headers: { "content-type": "text/event-stream" },
      });
    });
    try {
      const upstream = `0=${own.url},1=${own.url},2=http://127.0.0.1:${mute.addr.port}`;
      const args = ["--upstream", upstream, "--upstream-key-file", keys, "--upstream-timeout", "1"];
      await serving(router, args, async ({ url, client }) => {
        const direct = own.client;
        for (const model of ["expert-0", "expert-1"]) {
          const request = {
            model,
            prompt: "the sea, 日本",
            max_tokens: 12,
            seed: 3,
            stop: ["never"],
          };
          const expected = await direct.completions.create(request);
          const forwarded = await client.completions.create(request);
          assertEquals(forwarded.choices, expected.choices);
          assertEquals(forwarded.usage, expected.usage);
          let streamed = "";
          for await (const chunk of await client.completions.create({ ...request, stream: true })) {
            streamed += chunk.choices[0].text;
          }
          assertEquals(streamed, expected.choices[0].text);
        }
        const about = { model: "mixture", prompt: "the sea", max_tokens: 3, seed: 1, exclude: [2] };
        const routed = await client.completions.create(about);
        assert(
          (routed.choices[0] as unknown as { routing: { expert: number } }).routing.expert < 2,
        );
        const refused = async (body: Record<string, unknown>) => {
          const response = await post(`${url}/v1/completions`, {
            prompt: "the sea",
            max_tokens: 3,
            ...body,
          });
          return [response.status, (await response.json()).error.code];
        };
        assertEquals(await refused({ model: "expert-2" }), [503, "upstream_unavailable"]);
        assertEquals(await refused({ model: "expert-0", logprobs: 1 }), [400, null]);
        assertEquals(await refused({ model: "expert-0", logprobs: 1, echo: true }), [400, null]);
        assertEquals(await refused({ model: "expert-0", prompt: "x".repeat(65) }), [400, null]);
        await own.end();
        assertEquals(await refused({ model: "expert-0" }), [503, "upstream_unavailable"]);
        assertEquals(
          (await fetch(`${url}/health`).then((response) => response.json())).status,
          "ok",
        );
      });
    } finally {
      await own.end();
      await mute.shutdown().catch(() => {});
    }
  }));

Deno.test("a server of another kind that speaks OpenAI's completions alone will do; one that breaks off or is ill is a clear 503", () =>
  inServingRun(5, async (run) => {
    const asked: Record<string, unknown>[] = [];
    let ill = false;
    const other = answering(async (request) => {
      if (ill) return new Response("no", { status: 500 });
      if (new URL(request.url).pathname === "/v1/models") {
        return Response.json({ object: "list", data: [{ id: "their-name", max_model_len: 20 }] });
      }
      const body = await request.json();
      asked.push(body);
      if (body.seed === 429) {
        const reported = { error: { message: "too many" } };
        return Response.json(reported, { status: 429, headers: { "retry-after": "7" } });
      }
      // As vLLM and llama.cpp stream: comments, no usage where it was not counted, and fields of
      // their own.
      const chunk = (text: string, finish_reason: string | null) =>
        `data: ${
          JSON.stringify({ id: "x", timings: {}, choices: [{ index: 0, text, finish_reason }] })
        }\r\n\r\n`;
      const pieces = [": ping\n\n", chunk("wave", null), chunk(" and gull", null)];
      if (body.seed !== 503) pieces.push(chunk("", "length"), "data: [DONE]\n\n");
      return new Response(pieces.join(""), { headers: { "content-type": "text/event-stream" } });
    });
    // It answers all with JSON, but tells of no models.
    const odd = answering(() => Response.json({}));
    // A server of this program without the expert: its first model must not answer instead.
    const namesake = answering(() =>
      Response.json({ data: [{ id: "mixture", owned_by: "smalltalk" }] })
    );
    try {
      const addresses = [
        `1=http://127.0.0.1:${other.addr.port}/v1`,
        `3=http://127.0.0.1:${odd.addr.port}`,
        `4=http://127.0.0.1:${namesake.addr.port}`,
      ];
      const args = ["--upstream", addresses.join(), "--serve-experts", "0"];
      await serving(run, args, async ({ url, client }) => {
        const [prompt] = await (await byteTokenizer()).encode(["the sea"]);
        const request = {
          model: "expert-1",
          prompt: "the sea",
          max_tokens: 9,
          seed: 5,
          temperature: 0.5,
        };
        const { choices: [choice], usage } = await client.completions.create(request);
        assertEquals([choice.text, choice.finish_reason], ["wave and gull", "length"]);
        assertEquals(usage!.prompt_tokens, prompt.length);
        const { model, stream, ...sent } = asked[0];
        assertEquals([model, stream, sent.prompt], ["their-name", true, [...prompt]]);
        assertEquals([sent.seed, sent.max_tokens, sent.temperature], [5, 9, 0.5]);
        // More than vLLM has room for.
        await client.completions.create({ ...request, max_tokens: 500 });
        assertEquals(asked[1].max_tokens, 20 - prompt.length);
        const refused = async (more: Record<string, unknown>) => {
          const response = await post(`${url}/v1/completions`, { ...request, ...more });
          return [
            response.status,
            (await response.json()).error.code,
            response.headers.get("retry-after"),
          ];
        };
        assertEquals(await refused({ seed: 429 }), [429, null, "7"]);
        assertEquals(await refused({ seed: 503 }), [503, "upstream_unavailable", "5"]);
        assertEquals(await refused({ model: "expert-2" }), [503, "expert_not_served", "5"]);
        const facts = {
          3: "its answer is not as OpenAI's: data: Invalid key: ",
          4: "it has no expert-04",
        };
        for (const [expert, fact] of Object.entries(facts)) {
          const response = await post(`${url}/v1/completions`, {
            ...request,
            model: `expert-${expert}`,
          });
          const what = `Cannot answer as the server of expert ${expert} must answer: ${fact}`;
          assertStringIncludes((await response.json()).error.message, what);
        }
        ill = true;
        assertEquals(await refused({}), [503, "upstream_unavailable", "5"]);
        assertEquals(
          (await client.completions.create({ ...request, model: "expert-0" })).choices.length,
          1,
        );
      });
    } finally {
      for (const server of [other, odd, namesake]) await server.shutdown();
    }
  }));

/** Starts a server that a test ends itself. */
async function serving2(run: string, args: string[]) {
  const started = Promise.withResolvers<Running>();
  const ended = Promise.withResolvers<void>();
  const running = serving(run, args, (server) => {
    started.resolve(server);
    return ended.promise;
  });
  const { url, client } = await started.promise;
  const end = () => (ended.resolve(), running);
  return { url, client: client.withOptions({ apiKey: "the key" }), end };
}
