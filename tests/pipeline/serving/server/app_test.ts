import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { Admission } from "../../../../pipeline/serving/server/admission.ts";
import { type AppOptions, createApp } from "../../../../pipeline/serving/server/app.ts";
import { SpecialTokens, TextReader } from "../../../../pipeline/serving/server/reading.ts";
import type { Service } from "../../../../pipeline/serving/server/service.ts";
import { LETTERS } from "../support.ts";
import { InputError, say, task } from "../../../../kernels/errors.ts";
import { RoomError } from "../../../../pipeline/serving/leases.ts";
import { TextRefusedError } from "../../../../pipeline/text/tokenizer.ts";
import { apiError, badRequest, errorBody } from "../../../../pipeline/serving/server/errors.ts";

const LOADING: AppOptions = { service: () => undefined, isClosing: () => false, maxBody: 2 ** 23 };

/** Asks a server that is still loading its mixture: what is asked for is looked at before. */
async function ask(
  path: string,
  body: string | ReadableStream | undefined,
  options: Partial<AppOptions> = {},
  headers: Record<string, string> = {},
  { place = "http://server", method = "POST" } = {},
): Promise<{ status: number; message: string; request: Request; allow: string | null }> {
  const request = new Request(`${place}${path}`, { method, body, headers });
  const response = await createApp({ ...LOADING, ...options }).fetch(request);
  const { error: { message } } = await response.json();
  return { status: response.status, message, request, allow: response.headers.get("allow") };
}

const [COMPLETIONS, CHATS] = ["/v1/completions", "/v1/chat/completions"];
const messages = [{ role: "user", content: "Hello" }];
type Body = Record<string, unknown>;
const fields = (names: string, value: unknown) =>
  Object.fromEntries(names.split(" ").map((name) => [name, value]));

Deno.test("a request may leave out everything but what is asked, and name what it does not want", async () => {
  const nullable =
    "stream temperature top_p top_k seed n stop max_tokens exclude mix reroute stream_options";
  const cases: [path: string, body: Body][] = [
    [COMPLETIONS, { prompt: "a", later: 1 }],
    [COMPLETIONS, { stop: Array(64).fill("a"), exclude: Array(65_535).fill(0) }],
    [COMPLETIONS, fields(`${nullable} prompt echo logprobs`, null)],
    [COMPLETIONS, {
      frequency_penalty: 0,
      presence_penalty: 0,
      logit_bias: {},
      best_of: 1,
      suffix: "",
    }],
    [CHATS, { messages, tools: [], response_format: { type: "text" }, ...fields(nullable, null) }],
    ["/tokenize", { prompt: "", add_special_tokens: true, parse_special: null }],
    ...["", "a", [1, 2], ["a", "b"], [[1], [2, 3]], ["a", [1]]].map((
      prompt,
    ): [string, Body] => [COMPLETIONS, { prompt }]),
  ];
  for (const [path, body] of cases) {
    const { status, message } = await ask(path, JSON.stringify(body));
    // There is nothing else to say.
    assertEquals([status, /being loaded/.test(message)], [503, true], message);
  }
});

Deno.test("what is wrong with a request is named by its place, the first thing alone, however much of it is wrong", async () => {
  const many = (value: unknown) => Array(60_000).fill(value);
  const image = [{ type: "text", text: "What is this?" }, {
    type: "image_url",
    image_url: { url: "" },
  }];
  const cases: [path: string, wrong: Body, place?: string][] = [
    ...[-1, "x".repeat(200_000)].map((it): [string, Body] => [COMPLETIONS, { temperature: it }]),
    ...[[], [[]], [1.5], [-1], 7, {}, many([])].map((
      it,
    ): [string, Body] => [COMPLETIONS, { prompt: it }]),
    ...[["a", ""], Array(65).fill("a"), many("a")].map((
      it,
    ): [string, Body] => [COMPLETIONS, { stop: it }]),
    ...[[1, 0.5], Array(65_536).fill(0), many(-1)].map((
      it,
    ): [string, Body] => [COMPLETIONS, { exclude: it }]),
    [COMPLETIONS, { top_p: 0 }],
    [COMPLETIONS, { n: 0 }],
    [COMPLETIONS, { logprobs: 21 }],
    [COMPLETIONS, { stop: many(""), exclude: many(-1) }],
    [COMPLETIONS, { frequency_penalty: 0.5 }],
    [COMPLETIONS, { best_of: 2 }],
    [CHATS, { messages: [] }],
    [CHATS, { messages: many({}) }],
    [CHATS, { messages: Array(1000).fill({}) }, "messages.0.role"],
    [
      CHATS,
      { messages: [{ role: "user", content: [{ type: "text" }] }] },
      "messages.0.content.0.text",
    ],
    [CHATS, { messages: [{ role: "user", content: 5 }] }, "messages.0.content"],
    [
      CHATS,
      { messages: [{ role: "captain", content: "" }] },
      "messages.0.role must be as documented: Expected one of system, developer, user, ",
    ],
    [COMPLETIONS, { stop: "x".repeat(1025) }],
    [COMPLETIONS, { stop: ["a", "x".repeat(1025)] }],
    [
      ...[CHATS, { messages: [...messages, { role: "user", content: image }] }] as [string, Body],
      'messages.1.content.1.type must be as documented: Expected text, which alone is what models here read: it is "image_url"',
    ],
    [CHATS, { tools: [{}], messages }],
    [CHATS, { response_format: { type: "json_object" }, messages }],
    ["/tokenize", {}, "prompt"],
    ["/detokenize", { tokens: [1, -1] }],
  ];
  for (const [path, wrong, place = `${Object.keys(wrong)[0]} must be as documented: `] of cases) {
    const { status, message } = await ask(path, JSON.stringify(wrong));
    assertEquals(status, 400);
    assertStringIncludes(message, `Cannot read the request as ${place}`);
    assert(message.length < 500, `${message.length} characters`);
  }
  for (const path of [COMPLETIONS, CHATS, "/tokenize", "/detokenize"]) {
    for (const body of [[], "text", 7, null]) {
      const { message } = await ask(path, JSON.stringify(body));
      assertStringIncludes(message, "Cannot read the request as the body must be as documented");
    }
  }
});

Deno.test("a wrong method is a 405 that names those that are allowed; a path that is none is a 404", async () => {
  const cases: [method: string, path: string, status: number, allow: string | null][] = [
    ["PUT", "/v1/completions", 405, "POST"],
    ["GET", "/v1/chat/completions", 405, "POST"],
    ["DELETE", "/v1/models/expert-00", 405, "GET, HEAD"],
    ["POST", "/health", 405, "GET, HEAD"],
    ["GET", "/v1/nothing", 404, null],
  ];
  for (const [method, path, ...expected] of cases) {
    const { status, allow } = await ask(path, undefined, {}, {}, { method });
    assertEquals([status, allow], expected, `${method} ${path}`);
  }
  const keys = ["a key"];
  assertEquals(
    (await ask("/v1/completions", undefined, { keys }, {}, { method: "PUT" })).status,
    401,
  );
});

Deno.test("nothing is read of a body that comes without a key, or where none belongs", async () => {
  const never = () => new ReadableStream();
  const options = { keys: ["a key"] };
  const refused = await ask("/v1/completions", never(), options);
  assertEquals([refused.status, refused.request.bodyUsed], [401, false]);
  const wrong = await ask("/v1/completions", never(), options, { authorization: "Bearer another" });
  assertEquals([wrong.status, wrong.request.bodyUsed], [401, false]);
  const open = await ask("/health", never(), options);
  assertEquals([open.status, open.request.bodyUsed], [405, false]);
  const right = await ask("/v1/completions", "{}", options, { authorization: "Bearer a key" });
  assertEquals([right.status, right.request.bodyUsed], [503, true]);
});

Deno.test("all bodies that are read take so much memory, beyond which a large one is asked to come again; small ones always find room", async () => {
  const maxBody = 2 ** 18;
  const app = createApp({ ...LOADING, maxBody });
  const bytes = (length: number) => new TextEncoder().encode("x".repeat(length));
  const send = (body: Uint8Array<ArrayBuffer> | ReadableStream) => {
    const headers = body instanceof Uint8Array
      ? { "content-length": String(body.length) }
      : undefined;
    return app.fetch(
      new Request("http://server/v1/completions", { method: "POST", body, headers }),
    );
  };
  const senders: ReadableStreamDefaultController<Uint8Array>[] = [];
  let read = 0;
  const stalled = Array.from({ length: 8 }, () => {
    const body = new ReadableStream<Uint8Array>({
      start(controller) {
        controller.enqueue(bytes(maxBody - 1));
        senders.push(controller);
      },
      pull() {
        read++; // all that was sent
        return new Promise(() => {});
      },
    });
    return send(body);
  });
  while (read < stalled.length) await new Promise((resolve) => setTimeout(resolve));
  const refused = await send(bytes(maxBody - 1));
  assertEquals([refused.status, refused.headers.get("retry-after")], [503, "5"]);
  const { error } = await refused.json();
  assertEquals(error.code, "busy");
  assertStringIncludes(error.message, "all that are read must have at most 2097152 bytes together");
  const statusCode = async (response: Response | Promise<Response>) => {
    await (await response).body?.cancel();
    return (await response).status;
  };
  assertEquals(await statusCode(send(bytes(2 ** 14))), 400); // no JSON: it was read
  for (const sender of senders) sender.close();
  assertEquals(await Promise.all(stalled.map(statusCode)), Array(8).fill(400));
  assertEquals(await statusCode(send(bytes(maxBody - 1))), 400);
});

/** A service that reads texts, with one place; `asked` posts to it. */
function reading() {
  const admission = new Admission(1);
  const special = new SpecialTokens(LETTERS, "<end>");
  const reader = new TextReader(LETTERS);
  const service = { tokenizer: LETTERS, reader, special, admission } as Service;
  const app = createApp({ ...LOADING, service: () => service });
  const asked = async (path: string, body: unknown) => {
    const request = new Request(`http://server/${path}`, {
      method: "POST",
      body: JSON.stringify(body),
    });
    const response = await app.fetch(request);
    return [response.status, await response.json()];
  };
  return { admission, asked };
}

Deno.test("while the mixture is loaded, /health and all else is 503; /health is 200 after, and needs no key", async () => {
  let service: Service | undefined = undefined;
  const app = createApp({ ...LOADING, service: () => service, keys: ["the key"] });
  const asked = async (path: string, headers?: HeadersInit) => {
    const response = await app.fetch(new Request(`http://server${path}`, { headers }));
    return [response.status, (await response.json()).error?.code];
  };
  assertEquals(await asked("/health"), [503, "loading"]);
  assertEquals(await asked("/v1/models", { authorization: "Bearer the key" }), [503, "loading"]);
  service = {} as Service;
  assertEquals(await asked("/health"), [200, undefined]);
  assertEquals(await asked("/v1/models"), [401, "invalid_api_key"]);
});

Deno.test("what turns text into tokens and back takes a place among those that wait", async () => {
  const { admission, asked } = reading();
  const both = async () => [
    await asked("tokenize", { prompt: "abc" }),
    await asked("detokenize", { tokens: [97, 98] }),
  ];
  assertEquals(await both(), [[200, { tokens: [97, 98, 99], count: 3 }], [200, { prompt: "ab" }]]);
  using _ = admission.enter(1);
  assertEquals((await both()).map(([status]) => status), [429, 429]);
});

Deno.test("a server ends when no request has a place, also between its scoring and its writing", async () => {
  const admission = new Admission(2);
  const places = admission.enter(1);
  const order: string[] = [];
  places.start()[Symbol.dispose]();
  const closed = admission.close().then(() => order.push("closed"));
  await new Promise((resolve) => setTimeout(resolve));
  order.push("over");
  places[Symbol.dispose]();
  await closed;
  assertEquals(order, ["over", "closed"]);
});

Deno.test("special tokens are tokens where that is asked for, and where a text is nothing but one", async () => {
  const { asked } = reading();
  const [end, inside] = ["<end>", "a<end>b"].map((text) =>
    Array.from(text, (letter) => letter.charCodeAt(0))
  );
  const cases: [body: Body, number[]][] = [
    [{ prompt: "<end>", add_special_tokens: false }, [LETTERS.eos]],
    [{ prompt: "<end>", parse_special: false }, end],
    [{ prompt: "a<end>b" }, inside],
    [{ prompt: "a<end>b", parse_special: true }, [97, LETTERS.eos, 98]],
    [{ prompt: "a<end>b", add_special_tokens: true }, [97, LETTERS.eos, 98]],
    [{ prompt: "a<end>b", add_special_tokens: true, parse_special: false }, inside],
  ];
  for (const [body, tokens] of cases) {
    assertEquals((await asked("tokenize", body))[1].tokens, tokens);
  }
});

Deno.test("without keys a server that only this machine reaches is asked by this machine's names alone", async () => {
  const status = async (place: string, options: Partial<AppOptions>, path = "/v1/completions") => {
    const { status, message } = await ask(path, "{}", options, {}, { place });
    if (status === 403) {
      assertStringIncludes(message, "it must be asked as localhost, 127.0.0.1 or [::1]");
    }
    return status;
  };
  const own =
    "localhost LOCALHOST:8000 127.0.0.1:9 127.0.0.2:80 [::1]:8000 localhost. a.localhost [::ffff:127.0.0.1]:8000"
      .split(" ");
  const foreign =
    "evil.example evil.example:8000 localhost.evil.example 127.0.0.1.evil.example 10.0.0.1"
      .split(" ");
  for (const name of own) assertEquals(await status(`http://${name}`, { local: true }), 503, name);
  for (const name of foreign) {
    assertEquals(await status(`http://${name}`, { local: true }), 403, name);
    assertEquals(await status(`http://${name}`, { local: true }, "/metrics"), 403, name);
    assertEquals(await status(`http://${name}`, { local: false }), 503, name);
    assertEquals(await status(`http://${name}`, { local: true, keys: ["a key"] }), 401, name);
  }
});

Deno.test("without keys web pages of other servers get nothing, whatever type they say that they send", async () => {
  const status = async (
    headers: Record<string, string>,
    options: Partial<AppOptions> = {},
    path = "/tokenize",
  ) => {
    const given = { "content-type": "text/plain", ...headers };
    const { status, message } = await ask(path, "{}", options, given, {
      place: "http://localhost:8000",
    });
    if (status === 403) assertStringIncludes(message, "no web page but its own may ask");
    return status;
  };
  for (const local of [true, false]) {
    const foreign: Record<string, string>[] = [
      { origin: "http://evil.example" },
      { origin: "null" },
      { origin: "http://localhost:3000" },
      { "sec-fetch-site": "cross-site" },
      { origin: "nothing" },
    ];
    for (const headers of foreign) {
      assertEquals(await status(headers, { local }), 403, JSON.stringify(headers));
      assertEquals(await status(headers, { local, keys: ["a key"] }), 401);
      assertEquals(await status(headers, { local }, "/health"), 405); // a link may lead to the page
    }
    const own: Record<string, string>[] = [{}, {
      origin: "http://localhost:8000",
      "sec-fetch-site": "same-origin",
    }];
    for (const headers of own) {
      assertEquals(await status(headers, { local }), 400, JSON.stringify(headers)); // as it is read
    }
  }
});

Deno.test("a client that has hung up before its request is looked at is reported in the log, whatever the reason is", async () => {
  const statuses: number[] = [];
  const app = createApp({ ...LOADING, onAnswer: ({ status }) => statuses.push(status) });
  for (const reason of ["a text", new Error("an error")]) {
    const signal = AbortSignal.abort(reason);
    const body = JSON.stringify({ model: "mixture", prompt: "a" });
    const headers = { "content-type": "application/json" };
    await app.fetch(
      new Request("http://server/v1/completions", { method: "POST", body, headers, signal }),
    );
  }
  assertEquals(statuses, [499, 499]);
});

Deno.test("apiError() tells what a client did from what the server lacks and from bugs, and keeps their text from clients", () => {
  const lacks = "Cannot answer as what the server needs for it must be available: it is not";
  const expert = "Cannot answer as expert 3 must be available: it is not";
  const at = (where: string) => new InputError(`Cannot load "${where}"`, { where });
  const remedy = say`run ${task("train-expert", { run: "/srv/run", expert: 3 })} first`;
  const cases: [error: Error, status: number, type: string, message: string][] = [
    [badRequest("no"), 400, "invalid_request_error", "no"],
    [
      new TextRefusedError("Cannot encode it", { where: "/srv" }),
      400,
      "invalid_request_error",
      "Cannot encode it",
    ],
    [
      ...[new RoomError("Cannot load /srv/a and /srv/b"), 400, "invalid_request_error"] as const,
      "Cannot answer as the models that are asked for must fit the server together: they do not",
    ],
    [new InputError("It is /srv", { remedy }), 503, "server_error", lacks],
    [at("/data/expert-5/tokenizer.json"), 503, "server_error", lacks],
    [at("/srv/expert-03-run/routers"), 503, "server_error", lacks],
    [at("/srv/run/experts/expert-03/config.json"), 503, "server_error", expert],
    [at("/data/expert-5/a/experts/expert-03/model.safetensors"), 503, "server_error", expert],
    [
      ...[new TypeError("/srv"), 500, "server_error"] as const,
      "Cannot answer as the server must be free of bugs: its log has more",
    ],
  ];
  for (const [error, status, type, message] of cases) {
    const reported = apiError(error);
    assertEquals([reported.status, errorBody(reported).error], [status, {
      message,
      type,
      param: null,
      code: reported.code,
    }]);
  }
});
