import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { APIError, AuthenticationError, BadRequestError, RateLimitError } from "openai";
import { generate, type GenerateOptions } from "../../../../pipeline/serving/generate.ts";
import type { Answered } from "../../../../pipeline/serving/server/service.ts";
import { readKeys, serve } from "../../../../pipeline/serving/server/serve.ts";
import { InputError, type Text } from "../../../../kernels/errors.ts";
import { hashes, inFolder } from "../../../tasks/support.ts";
import { assertClose, gpu } from "../../../kernels/support.ts";
import { sequenceNll } from "../../model/reference.ts";
import { anyWeights } from "../../model/support.ts";
import { byteTokenizer, DEVICE_FAILURES, EXPERT, inServingRun, withDevices } from "../support.ts";
import { eventsOf, metric, post, serving, withServer } from "./support.ts";

const tokenizer = await byteTokenizer();
const PROMPT = "the ship and the sea, 日本";

type Answering = { expert: number; weight: number }[];
interface Mixed {
  text: string;
  routing: {
    expert: number;
    answering: Answering | null;
    changes?: { text_offset: number; answering: Answering }[];
  };
}

Deno.test("mix and reroute write what generate writes with them; every piece says who wrote it, the whole where others took over", () =>
  withServer({}, async ({ run, url, client }) => {
    const joinExperts = (answering: readonly { expert: number }[]) =>
      answering.map(({ expert }) => expert).join();
    const complete = (body: unknown) => post(`${url}/v1/completions`, body);
    const cases: [mixing: { mix?: number; reroute?: number }, model: string, exclude?: number[]][] =
      [
        [{ mix: 2 }, "mixture"],
        [{ mix: 2, reroute: 3 }, "mixture@4"],
        [{ reroute: 2 }, "mixture", [1]],
      ];
    for (const [mixing, model, exclude] of cases) {
      const what = JSON.stringify([mixing, model, exclude]);
      const shared = { prompt: PROMPT, seed: 5, exclude, ...mixing };
      const prefix = model === "mixture" ? undefined : 4;
      const wanted = await generate({
        gpu,
        run,
        temperature: 1,
        maxNewTokens: 24,
        prefix,
        ...shared,
      });
      const first = wanted.answering;
      let last = joinExperts(first);
      const pieces: [string, string][] = [];
      const turns: [number, string][] = [];
      let text = "";
      for await (const piece of wanted) {
        const now = joinExperts(wanted.answering);
        if (now !== last) turns.push([text.length, last = now]);
        text += piece;
        pieces.push([piece, JSON.stringify(wanted.answering)]);
      }
      const request = { model, max_tokens: 24, ...shared };
      const events = eventsOf(await (await complete({ ...request, stream: true })).text());
      const streamed: Mixed[] = events.map(({ choices }) => choices[0]).filter(({ text }) =>
        text !== ""
      );
      assertEquals(
        streamed.map((one) => [one.text, JSON.stringify(one.routing.answering)]),
        pieces,
        what,
      );
      assert(streamed.every(({ routing }) => routing.expert === routing.answering![0].expert));
      const { choices: [whole] }: { choices: Mixed[] } = await (await complete(request)).json();
      assertEquals([whole.text, whole.routing.answering], [text, first], what);
      const reported = whole.routing.changes!.map((
        own,
      ) => [own.text_offset, joinExperts(own.answering)]);
      assertEquals(reported, turns, what);
      assertEquals(reported.length > 0, "reroute" in mixing, what);
    }
    const plain = await client.completions.create({
      model: "mixture",
      prompt: PROMPT,
      max_tokens: 2,
    });
    const { answering, changes } = (plain.choices[0] as unknown as Mixed).routing;
    assertEquals([answering, changes], [null, undefined]);
    const echo = await (await complete({ prompt: PROMPT, mix: 2, echo: true, logprobs: 1 })).json();
    assertStringIncludes(echo.error.message, "Cannot score a prompt as one expert must do it");
  }));

/** What `generate` writes with the settings that a request has by default. */
async function alone(run: string, options: Partial<GenerateOptions>) {
  const about = { gpu, run, prompt: PROMPT, temperature: 1, maxNewTokens: 16 };
  const generation = await generate({ ...about, ...options });
  const text = (await Array.fromAsync(generation)).join("");
  const { expert, tokens, route, finish } = generation;
  return { text, expert, tokens, route, finish };
}

type Routing = {
  model: string;
  expert: number;
  runner_up: number;
  margin: number;
  prefix_tokens: number;
};
type Extra = { routing: Routing; chat_template: string };

Deno.test("the openai client gets what generate writes: completions, chats, streams, usage, seeds, models", () =>
  withServer({}, async ({ client, run, url }) => {
    const whole = await alone(run, { seed: 7, maxNewTokens: 12 });
    const request = { model: "mixture", prompt: PROMPT, max_tokens: 12, seed: 7 };
    const { data, response } = await client.completions.create(request).withResponse();
    const { text, finish_reason, index } = data.choices[0];
    assertEquals([data.object, index, text, finish_reason], [
      "text_completion",
      0,
      whole.text,
      "length",
    ]);
    const { routing } = data.choices[0] as unknown as Extra;
    const { runnerUp, margin } = whole.route!;
    assertEquals([routing.expert, routing.runner_up, routing.margin], [
      whole.expert!,
      runnerUp!,
      margin,
    ]);
    assertEquals(response.headers.get("x-smalltalk-model"), routing.model);
    const [prompt] = await tokenizer.encode([PROMPT]);
    const usage = {
      prompt_tokens: prompt.length,
      completion_tokens: 12,
      total_tokens: prompt.length + 12,
    };
    assertEquals(data.usage, usage);

    let streamed = "";
    let last;
    const stream = { stream: true, stream_options: { include_usage: true } } as const;
    for await (const chunk of await client.completions.create({ ...request, ...stream })) {
      streamed += chunk.choices[0]?.text ?? "";
      last = chunk;
    }
    assertEquals(streamed, whole.text);
    assertEquals([last!.choices.length, last!.usage], [0, usage]);

    const messages = [{ role: "user" as const, content: PROMPT }];
    const chat = { model: "mixture", messages, max_completion_tokens: 12, seed: 7 };
    const answer = await client.chat.completions.create(chat);
    assertEquals(answer.choices[0].message, {
      role: "assistant",
      content: whole.text,
      refusal: null,
    });
    assertMatch((answer as unknown as Extra).chat_template, /none/);
    let chatted = "";
    for await (
      const { choices: [{ delta }] } of await client.chat.completions.create({
        ...chat,
        stream: true,
      })
    ) {
      chatted += delta.content ?? "";
    }
    assertEquals(chatted, whole.text);
    const runner = client.chat.completions.stream(chat); // the client's own checks of a stream
    assertEquals((await runner.finalChatCompletion()).choices[0].message.content, whole.text);

    const several = await client.completions.create({
      ...request,
      prompt: [PROMPT, [...prompt] as never, "the sea"],
      n: 2,
    });
    assertEquals(several.choices.map(({ index }) => index), [0, 1, 2, 3, 4, 5]);
    assertEquals([several.choices[0].text, several.choices[2].text], [whole.text, whole.text]);
    assertEquals(several.choices[1].text, (await alone(run, { seed: 8, maxNewTokens: 12 })).text);
    const streams = ["", "", ""];
    const shared = { ...request, prompt: [PROMPT, "the sea"], n: 2 };
    for await (
      const { choices: [{ index, text }] } of await client.completions.create({
        ...shared,
        stream: true,
      })
    ) {
      streams[index] = (streams[index] ?? "") + text;
    }
    assertEquals(
      streams,
      [...several.choices.slice(0, 2), ...several.choices.slice(4)].map(({ text }) => text),
    );
    const bySettings = { temperature: 0.7, top_p: 0.8, top_k: 9, seed: 3 };
    assertEquals(
      (await client.completions.create({ ...request, ...bySettings })).choices[0].text,
      (await alone(run, { temperature: 0.7, topP: 0.8, topK: 9, seed: 3, maxNewTokens: 12 })).text,
    );
    const a = await client.completions.create({ model: "mixture", prompt: PROMPT });
    const b = await client.completions.create({ model: "mixture", prompt: PROMPT });
    assert(a.choices[0].text !== b.choices[0].text, "without a seed texts differ");

    const loads = await metric(url, "smalltalk_model_loads");
    const models = await Array.fromAsync(client.models.list());
    const ids = ["mixture", "mixture@32", "expert-00", "expert-01", "expert-02"];
    assertEquals(models.map(({ id }) => id), ids);
    const isLoaded = (model: unknown) => (model as { loaded: boolean }).loaded;
    const loaded = models.filter(isLoaded).map(({ id }) => id);
    assertEquals(loaded.length, loads);
    assert(loaded.includes(routing.model));
    assertEquals((await client.models.retrieve("expert-01")).id, "expert-01");
    await (await fetch(`${url}/health`)).body?.cancel();
    assertEquals(await metric(url, "smalltalk_model_loads"), loads, "none of these loads a model");
    const reported = await fetch(`${url}/metrics`);
    assertMatch(reported.headers.get("content-type")!, /^text\/plain/);
    const figures = await reported.text();
    const names = [
      ...[
        'requests_total{path="/v1/completions",status="200"}',
        'requests_total{path="other",status="200"}',
      ],
      ...['request_seconds_bucket{le="100",path="/v1/completions"}', "first_token_seconds_count"],
      ...[`expert_requests_total{model="${routing.model}"}`, 'tokens_total{kind="prompt"}'],
      ...[`routing_margin_nats_count{model="${routing.model}"}`, 'tokens_total{kind="completion"}'],
      ...["requests_waiting", "requests_running", "model_evictions", "models_held", "model_bytes"],
    ];
    for (const name of names) assertStringIncludes(figures, `\nsmalltalk_${name} `);
  }));

Deno.test("log-probabilities of written tokens are those of their logits, the likeliest first", () =>
  withServer({}, async ({ client, run }) => {
    const request = {
      model: "expert-1",
      prompt: PROMPT,
      max_tokens: 10,
      temperature: 0,
      logprobs: 3,
    };
    const { choices: [{ logprobs }] } = await client.completions.create(request);
    assertEquals(logprobs!.tokens!.length, 10);
    logprobs!.token_logprobs!.forEach((value, i) => {
      const top = Object.values(logprobs!.top_logprobs![i]);
      assertEquals(value, Math.max(...top)); // greedy: the same bits
      assert(top.length >= 1 && top.length <= 3 && Math.fround(value) === value && value < 0);
    });
    const messages = [{ role: "user" as const, content: PROMPT }];
    const chat = {
      model: "expert-1",
      messages,
      max_tokens: 10,
      temperature: 0,
      logprobs: true,
      top_logprobs: 3,
    };
    const answer = await client.chat.completions.create(chat);
    const content = answer.choices[0].logprobs!.content!;
    assertEquals(content.map(({ logprob }) => logprob), logprobs!.token_logprobs);
    assertEquals(content[0].top_logprobs.length, 3);
    const more: number[] = [];
    for await (const chunk of await client.completions.create({ ...request, stream: true })) {
      more.push(...chunk.choices[0].logprobs?.token_logprobs ?? []);
    }
    assertEquals(more, logprobs!.token_logprobs);
    // Where a text stops it, no piece tells of a token of that.
    // The first token is like the second: both are held back.
    const stop = logprobs!.tokens!.slice(1, 3).join("");
    let [text, joined] = ["", ""];
    for await (
      const { choices: [choice] } of await client.completions.create({
        ...request,
        stop,
        stream: true,
      })
    ) {
      text += choice.text;
      joined += choice.logprobs?.tokens?.join("") ?? "";
    }
    assertEquals(joined, text);
    const free = { model: "mixture", prompt: [PROMPT, PROMPT], max_tokens: 12, temperature: 2 };
    const [one, other] = (await client.completions.create(free)).choices;
    assert(one.text !== other.text, "without a seed equal prompts get texts of their own");
    // Next to the f64 reference: what the written tokens add to the prompt's NLL.
    const { tokens } = await alone(run, { expert: 1, temperature: 0, maxNewTokens: 10 });
    const [prompt] = await tokenizer.encode([PROMPT]);
    const nll = (ids: number[]) => sequenceNll(EXPERT, anyWeights(EXPERT, "expert 1"), ids);
    const sum = logprobs!.token_logprobs!.reduce((sum, value) => sum + value, 0);
    assertClose([-sum], [nll([...prompt, ...tokens]) - nll([...prompt])], {
      atol: 1e-4,
      rtol: 1e-5,
    });
  }));

/** Sends the bytes of a request, and returns those of its answer. */
async function raw(url: string, request: string): Promise<string> {
  using connection = await Deno.connect({ hostname: "127.0.0.1", port: Number(new URL(url).port) });
  await connection.write(new TextEncoder().encode(request));
  return await new Response(connection.readable).text();
}

Deno.test("errors have OpenAI's form, and the server lives", () =>
  withServer({ args: ["--queue", "2"] }, async ({ client, url, log }) => {
    const request = { model: "mixture", prompt: PROMPT, max_tokens: 4 };
    const refused = async (more: Record<string, unknown>, text: string) => {
      const error = await assertRejects(
        () => client.completions.create({ ...request, ...more } as typeof request),
        BadRequestError,
      );
      assertStringIncludes(error.message, text);
      assertEquals(error.type, "invalid_request_error");
    };
    await refused({ max_tokens: 0 }, "max_tokens");
    await refused({ prompt: [0, 270] }, "one is 270");
    await refused({ logit_bias: { 5: 1 } }, "logit_bias");
    await refused({ prompt: Array(1025).fill("a"), n: 2 }, "at most 2048 texts");
    const long = "x".repeat(EXPERT.context + 1);
    await refused({ prompt: long }, `context of ${EXPERT.context} tokens: it has 65`);
    await refused({ prompt: long, stream: true }, "it has 65");
    const full = await client.completions.create({
      ...request,
      prompt: "x".repeat(EXPERT.context),
    });
    assertEquals([full.usage!.completion_tokens, full.choices[0].finish_reason], [1, "length"]);

    // More than may wait.
    assertEquals((await client.completions.create({ ...request, n: 4 })).choices.length, 4);
    const [completions, chats] = ["/v1/completions", "/v1/chat/completions"];
    const deep = "[".repeat(1e5);
    const latin = Uint8Array.from('{"prompt":"\xe9"}', (letter) => letter.charCodeAt(0));
    const wrong: [
      path: string,
      body: BodyInit | undefined,
      status: number,
      text: string,
      method?: string,
    ][] = [
      ...[completions, chats].flatMap((path): [string, string, number, string][] => [
        ...["", "{", deep].map((
          body,
        ): [string, string, number, string] => [path, body, 400, "be JSON: "]),
        [path, `{"prompt":"${"x".repeat(9 * 2 ** 20)}"}`, 413, "at most 8388608 bytes"],
      ]),
      [completions, `{"prompt":${deep}${"]".repeat(1e5)}}`, 400, "prompt must be as documented"],
      [completions, latin, 400, "it must be UTF-8: it is not"],
      [
        completions,
        JSON.stringify({ prompt: "\u0301".repeat(1e6) }),
        400,
        "may come without a place to cut it",
      ],
      [
        completions,
        JSON.stringify({ prompt: "a ".repeat(5e5) }),
        400,
        "context of 64 tokens: it has ",
      ],
      [completions, "{}", 405, "the method must be POST", "PUT"],
      ["/v1/nothing", undefined, 404, "there must be such a route", "GET"],
    ];
    for (const [path, body, status, text, method = "POST"] of wrong) {
      const headers = { "content-type": "text/plain" };
      const response = await fetch(url + path, { method, body, headers });
      const { error } = await response.json();
      assertEquals([response.status, error.type], [status, "invalid_request_error"], text);
      assertStringIncludes(error.message, text);
      if (status === 405) {
        assertEquals([error.code, response.headers.get("allow")], ["method_not_allowed", "POST"]);
      }
    }
    const heads: [head: string, status: number][] = [
      ["TRACE /health HTTP/1.1\r\nHost: localhost", 405],
      ["GET / HTTP/1.1\r\nHost: a b", 400],
      ["GET /v1/models HTTP/1.1\r\nHost: evil.example", 403],
    ];
    for (const [head, status] of heads) {
      assertStringIncludes(
        await raw(url, `${head}\r\nConnection: close\r\n\r\n`),
        `HTTP/1.1 ${status} `,
      );
    }
    assert(!/ {4}at /.test(log()), log()); // nothing that a client sends is a bug

    const results = await Promise.allSettled(
      Array.from({ length: 12 }, () => client.completions.create({ ...request, max_tokens: 40 })),
    );
    const errors = results.flatMap((result) => result.status === "rejected" ? [result.reason] : []);
    assert(errors.length > 0 && errors.length < 12, `${errors.length} of 12 were refused`);
    for (const error of errors) {
      assert(error instanceof RateLimitError);
      assertEquals([error.status, error.code, error.headers.get("retry-after")], [
        429,
        "queue_full",
        "1",
      ]);
    }
    assertEquals((await client.completions.create(request)).choices.length, 1);
    assertEquals(await metric(url, "smalltalk_requests_waiting"), 0);
    assertEquals(await metric(url, "smalltalk_requests_running"), 0);
  }));

Deno.test("without its key a client gets nothing but the page, the health and the figures", async () => {
  const keys = await Deno.makeTempFile();
  await Deno.writeTextFile(keys, "first key\n\nsecond-key\n");
  try {
    await withServer({ args: ["--api-key-file", keys] }, async ({ client, url }) => {
      const error = await assertRejects(() => client.models.list(), AuthenticationError);
      assertEquals([error.status, error.code, error.type], [
        401,
        "invalid_api_key",
        "authentication_error",
      ]);
      const request = { model: "mixture", prompt: "x", max_tokens: 1 };
      await assertRejects(() => client.completions.create(request), AuthenticationError);
      for (const path of ["/tokenizer_info", "/v1/models", "/v1/nothing"]) {
        const response = await fetch(url + path);
        await response.body?.cancel();
        assertEquals(response.status, 401, path);
      }
      for (const path of ["/", "/health", "/metrics"]) {
        const response = await fetch(url + path);
        await response.body?.cancel();
        assertEquals(response.status, 200, path);
      }
      for (const apiKey of ["first key", "second-key"]) {
        assertEquals(
          (await client.withOptions({ apiKey }).completions.create(request)).choices.length,
          1,
        );
      }
    });
  } finally {
    await Deno.remove(keys);
  }
});

Deno.test("keys are refused that no header carries, and several where one is sent", () =>
  inFolder(async (folder) => {
    const file = `${folder}/keys`;
    const ascii = "a header carries printable ASCII characters alone: key 2 of 2 has others";
    const cases: [text: string, wrong: string, most?: number][] = [
      ...["ключ", "clé", "a\u0001b"].map((key): [string, string] => [`first\n\n${key}\n`, ascii]),
      ["first\nsecond\n", "it must hold 1: it holds 2", 1],
      ["\n", "it must hold one a line: it holds none"],
    ];
    for (const [text, wrong, most] of cases) {
      await Deno.writeTextFile(file, text);
      await assertRejects(() => readKeys(file, most), InputError, `from "${file}" as ${wrong}`);
    }
    await Deno.writeTextFile(file, " first key \n");
    assertEquals(await readKeys(file, 1), ["first key"]);
  }));

Deno.test("a damaged expert fails alone, with 503, and works once it is mended", () =>
  withServer({}, async ({ client, run, log }) => {
    const path = `${run}/experts/expert-01/model.safetensors`;
    const bytes = await Deno.readFile(path);
    await Deno.writeFile(path, bytes.subarray(0, -5));
    const ask = (model: string) =>
      client.completions.create({ model, prompt: PROMPT, max_tokens: 4, seed: 1 });
    const [whole, damaged] = await Promise.allSettled([ask("expert-0"), ask("expert-1")]);
    assertEquals(whole.status, "fulfilled");
    assert(damaged.status === "rejected" && damaged.reason instanceof APIError);
    assertEquals([damaged.reason.status, damaged.reason.code], [503, "model_unavailable"]);
    assertStringIncludes(
      damaged.reason.message,
      "Cannot answer as expert 1 must be available: it is not",
    );
    assert(!damaged.reason.message.includes("/"), damaged.reason.message);
    await Deno.writeFile(path, bytes);
    const text = (await ask("expert-1")).choices[0].text;
    assertEquals(text, (await alone(run, { expert: 1, seed: 1, maxNewTokens: 4 })).text);
    assertMatch(
      log(),
      /^\S+Z error: Cannot read "[^"\n]+expert-01\/model\.safetensors" as it must be a whole /m,
    );
    assert(!/ {4}at /.test(log()), log());
  }));

Deno.test("SIGTERM lets what runs come to its end, lets nothing in, and changes nothing on disk", () =>
  withServer({}, async ({ client, run, process, url, log }) => {
    const before = await hashes(run);
    let seed = 0; // of a text that does not end by itself
    const wanted = () => alone(run, { prompt: "the sea", seed, maxNewTokens: 50 });
    while ((await wanted()).finish !== "length") seed++;
    const request = {
      model: "mixture",
      prompt: "the sea",
      max_tokens: 50,
      seed,
      stream: true,
    } as const;
    const stream = await client.completions.create(request);
    let text = "";
    let refused: number | string | undefined;
    for await (const chunk of stream) {
      if (text === "") {
        process.kill("SIGTERM");
        await new Promise((resolve) => setTimeout(resolve, 100));
        refused = await fetch(`${url}/health`).then(async (response) => {
          await response.body?.cancel();
          return response.status;
        }, () => "not reached");
      }
      text += chunk.choices[0].text;
    }
    assert(refused === 503 || refused === "not reached", String(refused));
    assertEquals(text, (await wanted()).text);
    assertEquals((await process.status).code, 0, log());
    assertMatch(
      log(),
      /POST \/v1\/completions 200 \d+ ms model="expert-0\d" promptTokens=3 completionTokens=50/,
    );
    assertEquals(await hashes(run), before);
  }));

Deno.test("chats go by the tokenizer's template where it has one", () =>
  inServingRun(3, async (run) => {
    const template = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}" +
      "{% if add_generation_prompt %}assistant: {% endif %}";
    await Deno.writeTextFile(
      `${run}/tokenizer_config.json`,
      JSON.stringify({ chat_template: template }),
    );
    await serving(run, [], async ({ client }) => {
      const parts = ["the ", "sea"].map((text) => ({ type: "text" as const, text }));
      const messages = [
        { role: "system", content: "ships" } as const,
        { role: "user", content: parts } as const,
      ];
      const request = { model: "mixture", messages, max_completion_tokens: 9, seed: 4 };
      const answer = await client.chat.completions.create(request);
      const prompt = "system: ships\nuser: the sea\nassistant: ";
      const { text } = await alone(run, { prompt, seed: 4, maxNewTokens: 9 });
      assertEquals(answer.choices[0].message.content, text);
      assertEquals((answer as unknown as Extra).chat_template, "the tokenizer's");
      assertEquals(answer.usage!.prompt_tokens, (await tokenizer.encode([prompt]))[0].length);
    });
  }));

Deno.test("a public address without a key is warned of; requests are logged as lines of JSON where that is asked for", () =>
  inServingRun(3, async (run) => {
    const warning = "anyone who reaches 0.0.0.0 may use this server: --api-key-file names keys";
    await serving(run, ["--host", "0.0.0.0", "--log", "json"], async ({ client, log }) => {
      assertStringIncludes(log(), warning);
      await client.completions.create({
        model: "expert-1",
        prompt: "the sea",
        max_tokens: 2,
        seed: 1,
      });
      const lines = () =>
        log().split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
      let reported;
      for (let i = 0; i < 1000 && !reported; i++) {
        // It is written after the answer.
        if (i > 0) await new Promise((resolve) => setTimeout(resolve, 20));
        reported = lines().find(({ request }) => request === "POST /v1/completions");
      }
      assertEquals([reported.status, reported.notes.model, reported.notes.promptTokens], [
        200,
        "expert-01",
        3,
      ]);
      assert(!Number.isNaN(Date.parse(reported.time)));
    });
    await Deno.writeTextFile(`${run}/keys`, "the key");
    for (const args of [["--host", "0.0.0.0", "--api-key-file", `${run}/keys`], []]) {
      await serving(run, args, ({ log }) => {
        assert(!log().includes("anyone who reaches"), log());
        return Promise.resolve();
      });
    }
  }));

Deno.test("a run that cannot be served is refused before the server names its address", () =>
  inServingRun(2, async (run) => {
    const refused = async (wrong: string, more: Partial<Parameters<typeof serve>[0]> = {}) => {
      const listened: unknown[] = [];
      const onListen = (address: unknown) => listened.push(address);
      const error = await assertRejects(
        () => serve({ run, gpu, port: 0, onListen, ...more }),
        InputError,
      );
      assertStringIncludes(error.message, wrong);
      assertEquals(listened, []);
    };
    await refused("Cannot serve an expert as serveExperts must be of 0 to 1: one is 2", {
      serveExperts: [2],
    });
    const addresses = new Map([[0, "http://127.0.0.1:9"], [7, "http://127.0.0.1:9"]]);
    await refused("Cannot serve an expert as upstream must be of 0 to 1: one is 7", {
      upstreams: { addresses, timeout: 1000 },
    });
    await refused("Cannot use models as memory must hold the smallest model: it is 1000 bytes, ", {
      memory: 1000,
    });
    await Deno.remove(`${run}/experts/expert-00`, { recursive: true });
    const none = `Cannot serve "${run}" as an expert of it must be trained: none is`;
    await refused(`${none}; run task "train-expert" with run "${run}", expert 0 first`, {
      serveExperts: [0],
    });
    await Deno.rename(`${run}/experts`, `${run}/elsewhere`);
    await refused(`${none}; run task "train-expert" with run "${run}", expert "all" first`);
    for (const name of ["partitioner", "tokenizer.json"]) {
      await Deno.remove(`${run}/${name}`, { recursive: true });
      await refused("Cannot serve as ");
    }
  }));

/** Runs a test with a server in this process, which ends with it. */
async function inProcess(
  options: Partial<Parameters<typeof serve>[0]>,
  test: (port: number, end: () => Promise<void>) => Promise<void>,
): Promise<void> {
  await inServingRun(2, async (run) => {
    const ending = new AbortController();
    const ready = Promise.withResolvers<void>();
    let port = 0;
    const onListen = (address: { port: number }) => port = address.port;
    const about = { run, gpu, port: 0, signal: ending.signal, onListen, onReady: ready.resolve };
    const serving = serve({ ...about, ...options });
    const end = () => (ending.abort(), serving);
    await Promise.race([ready.promise, serving]);
    await test(port, end);
    await end();
  });
}

Deno.test("a device that fails is replaced: requests that meet the failure are asked to come again, and the next are answered", () =>
  withDevices((devices) =>
    inProcess({ gpu: undefined }, async (port) => {
      const url = `http://127.0.0.1:${port}`;
      const complete = (body: unknown) => post(`${url}/v1/completions`, body);
      const ask = async () => {
        const response = await complete({ prompt: PROMPT, max_tokens: 9, seed: 3 });
        const { choices, error } = await response.json();
        if (error) assertEquals([response.status, error.code], [503, "model_unavailable"]);
        return choices?.[0].text;
      };
      const expected = await ask();
      for (const fail of DEVICE_FAILURES) {
        fail(devices.at(-1)!);
        const texts = [await ask(), await ask()];
        assertEquals([texts[0] ?? expected, texts[1]], [expected, expected]);
        assertEquals((await (await fetch(`${url}/health`)).json()).status, "ok");
      }
      assertEquals(devices.length, 3);
      const about = {
        model: "expert-0",
        prompt: "the sea",
        max_tokens: 60,
        n: 2,
        seed: 1,
        stream: true,
      };
      let streamed = "";
      for await (const text of (await complete(about)).body!.pipeThrough(new TextDecoderStream())) {
        if (streamed === "") DEVICE_FAILURES[1](devices.at(-1)!);
        streamed += text;
      }
      assertEquals(
        JSON.parse(streamed.split("\n\n").at(-2)!.slice(6)).error.code,
        "model_unavailable",
      );
      assertEquals(await ask(), expected);
    })
  ));

Deno.test("a request that never ends is closed by the time limit, in its line, its headers or its body; others go on", () =>
  inProcess({ requestTimeout: 1 }, async (port, end) => {
    const begun = performance.now();
    const parts = [
      "",
      "GET / HT",
      "GET / HTTP/1.1\r\nhost: loc",
      "POST /tokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
    ];
    const answers = await Promise.all(parts.map((part) => raw(`http://127.0.0.1:${port}`, part)));
    for (const answer of answers) assertMatch(answer, /^HTTP\/1\.1 408 /);
    assert(performance.now() - begun < 60_000);
    assertEquals((await (await fetch(`http://127.0.0.1:${port}/health`)).json()).status, "ok");
    await end();
  }));

Deno.test("it ends although a client does not read what it asked for, and cuts one that asks for ever more", async () => {
  const warnings: Text[] = [];
  let pages = 0;
  const texts = 12; // together they exceed all buffers
  const statuses: number[] = [];
  const decoded = Promise.withResolvers<void>();
  const onAnswer = ({ request, status }: Answered) => {
    if (request === "GET /") pages++;
    else if (statuses.push(status) === texts) decoded.resolve();
  };
  const onWarning = (warning: Text) => warnings.push(warning);
  await inProcess({ drainTimeout: 0.2, onAnswer, onWarning }, async (port, end) => {
    const page = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    await raw(`http://127.0.0.1:${port}`, page.repeat(20_000)).catch(() => {}); // it is cut
    assert(pages < 4000, `${pages} pages were made`);
    const body = JSON.stringify({ tokens: Array(130_000).fill(tokenizer.eos) });
    const head =
      `POST /detokenize HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n`;
    using connection = await Deno.connect({ hostname: "127.0.0.1", port });
    const requests = new TextEncoder().encode((head + body).repeat(texts));
    connection.writable.getWriter().write(requests).catch(() => {});
    await decoded.promise;
    assertEquals(statuses, Array(texts).fill(200));
    await end();
    assertEquals(warnings, ["clients did not read their answers within 0.2 s: they are left"]);
  });
});

Deno.test("where it cannot listen it reports on which port and address", () =>
  inProcess({}, async (taken) => {
    await inServingRun(2, async (run) => {
      const refused = (about: { host?: string; port: number }, wrong: string) =>
        assertRejects(() => serve({ run, gpu, ...about }), InputError, wrong);
      await refused(
        { port: taken },
        `Cannot listen as port ${taken} must be free: another program has it`,
      );
      await refused(
        { host: "::1", port: 80 },
        'host must be one that this task is permitted: it is "::1"',
      );
    });
  }));
