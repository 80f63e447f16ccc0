import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Mixture } from "../../../../pipeline/serving/mixture.ts";
import { chooseRoute } from "../../../../pipeline/serving/mixing.ts";
import { apiError } from "../../../../pipeline/serving/server/errors.ts";
import type { Service } from "../../../../pipeline/serving/server/service.ts";
import {
  describeRouting,
  findTargets,
  listModels,
  routingHeaders,
} from "../../../../pipeline/serving/server/targets.ts";

/**
 * A mixture of three experts, which chooses the one that the first token names; contexts are of 9,
 * 9 and 5 tokens.
 */
const MIXTURE = {
  routes: true,
  prefix: () => Promise.resolve(4),
  partitioner: () => Promise.resolve({ kind: "em" }),
  experts: () => Promise.resolve(3),
  dense: () => Promise.resolve(["dense"]),
  describe: (model: number) =>
    Promise.resolve({ config: { context: [9, 9, 5][model] ?? 5 }, notes: {} }),
  routeAll: (texts: readonly Uint32Array[], _prefix?: number, exclude: readonly number[] = []) =>
    Promise.resolve(
      texts.map(([first]) =>
        chooseRoute([0, 1, 2].map((expert) => Math.abs(expert - first)), 4, exclude)
      ),
    ),
} as unknown as Mixture;
const UPSTREAMS = { addresses: new Map([[2, "http://10.0.0.1"]]), timeout: 1000 };
const prompts = (length: number) =>
  [2, 0].map((first) => Uint32Array.of(first, ...new Uint32Array(length - 1)));

type Asked = Partial<Parameters<typeof findTargets>[1]> & { length?: number };

const find = ({ length = 2, ...choosing }: Asked, more: Partial<Service> = {}) =>
  findTargets(
    { mixture: MIXTURE, ...more } as Service,
    { model: "mixture", exclude: [], mix: undefined, reroute: undefined, ...choosing },
    prompts(length),
  );

Deno.test("findTargets() finds who answers each prompt: by its route, by name, or several that are mixed or may change", async () => {
  const cases: [Asked, models: unknown[], answering: number[][] | null][] = [
    [{}, [2, 0], null],
    [{ model: "expert-01" }, [1, 1], null],
    [{ model: "dense" }, ["dense", "dense"], null],
    [{ exclude: [2] }, [1, 0], null],
    [{ mix: 1, reroute: undefined }, [2, 0], null],
    [{ mix: 2, exclude: [1] }, [2, 0], [[2, 0], [0, 2]]],
    [{ model: "mixture@2", reroute: 3 }, [2, 0], [[2], [0]]],
  ];
  for (const [asked, models, answering] of cases) {
    const routing = (await find(asked)).map((target) => describeRouting(target, 3));
    assertEquals(routing.map(({ expert, model }) => expert ?? model), models);
    const experts = routing.map(({ answering }) => answering?.map(({ expert }) => expert) ?? null);
    assertEquals(experts, answering ?? [null, null]);
  }
  const there = { serveExperts: [0], upstreams: UPSTREAMS };
  const [{ model }] = await find({ length: 10, exclude: [0, 1] }, there);
  assertEquals(model, 2, "how long a prompt may be is for the server of its expert to say");
});

Deno.test("findTargets() refuses what cannot answer, with its status", async () => {
  const tooLong = "context_length_exceeded";
  const cases: [Asked, Partial<Service>, message: string, status?: number, code?: string][] = [
    [{ exclude: [3] }, {}, "one of 0 to 2: it is 3"],
    [{ exclude: [2, 1, 0] }, {}, "all 3 of them are excluded"],
    [{ model: "expert-01", exclude: [1] }, {}, "must not be excluded"],
    [{ mix: 4 }, {}, "mix must be from 1 to the number of experts, 3: it is 4"],
    [{ model: "expert-01", mix: 2 }, {}, "mix is for experts that a prompt chooses"],
    [{ model: "dense", reroute: 2 }, {}, "reroute is for experts that a prompt chooses"],
    [{ reroute: 2 }, { serveExperts: [0, 1] }, "all experts must be on this server"],
    [{ mix: 2 }, { upstreams: UPSTREAMS }, "all experts must be on this server"],
    [{ model: "expert-09" }, {}, "expert-09", 404, "model_not_found"],
    [{}, { serveExperts: [0] }, "expert 2: none does", 503, "expert_not_served"],
    [{ length: 6 }, {}, "context of 5 tokens: it has 6", 400, tooLong],
    [{ length: 6, mix: 3, exclude: [1] }, {}, "context of 5 tokens", 400, tooLong],
    // Where they may change all count.
    [{ length: 6, reroute: 2 }, {}, "context of 5 tokens", 400, tooLong],
  ];
  for (const [asked, more, message, status = 400, code = null] of cases) {
    const error = apiError(await assertRejects(() => find(asked, more), Error, message));
    assertEquals([error.status, error.code], [status, code]);
  }
  for (
    const model of ["", "expert-03", "expert-", "expert-1x", "mixture@0", "mixture@", "../dense"]
  ) {
    assertEquals(
      apiError(await assertRejects(() => find({ model }))).code,
      "model_not_found",
      model,
    );
  }
  assertEquals((await find({ length: 6, reroute: 2, exclude: [2] })).map(({ model }) => model), [
    0,
    0,
  ]);
});

Deno.test("listModels() lists what can answer, trained and served here or on another server; each is found by its name", async () => {
  const present = () => Promise.resolve([0, 2]);
  const mixture = {
    ...MIXTURE,
    present,
    holds: (model: unknown) => model === 2,
  } as unknown as Mixture;
  const upstreams = { addresses: new Map([[1, "http://10.0.0.1"]]), timeout: 1000 };
  const cases: [Partial<Service>, unknown[]][] = [
    [{}, [["expert-00", false, ["sea"]], ["expert-02", true, ["wind"]]]],
    [{ serveExperts: [1, 2] }, [["expert-02", true, ["wind"]]]],
    [{ serveExperts: [0], upstreams }, [["expert-00", false, ["sea"]], ["expert-01", false, [
      "law",
    ]]]],
  ];
  for (const [holders, experts] of cases) {
    const names = ["sea", "law", "wind"].map((word) => ({ words: [word], example: null }));
    const listed = await listModels({ mixture, names, ...holders } as Service);
    assertEquals(listed.map(({ id, loaded, words }) => [id, loaded, words]), [
      ...[["mixture", null, null], ["mixture@32", null, null], ...experts, ["dense", false, null]],
    ]);
    for (const { id } of listed) assertEquals((await find({ model: id })).length, 2);
  }
});

Deno.test("describeRouting() and routingHeaders() say who answers and by how much, and nothing of what was not routed", () => {
  const route = chooseRoute([3, 1.5, 7], 4);
  const [routed, dense] = [
    describeRouting({ model: 1, route, answering: [] }, 3),
    describeRouting({ model: "dense", route: null, answering: [] }, 3),
  ];
  assertEquals(routed, {
    model: "expert-01",
    expert: 1,
    margin: 1.5,
    margin_per_token: 0.5,
    runner_up: 0,
    scores: [-3, -1.5, -7],
    prefix_tokens: 4,
    cost: null,
    answering: null,
  });
  assertEquals(new Set(Object.values(dense)), new Set(["dense", null]));
  assertEquals(routingHeaders([routed, dense]), {
    "x-smalltalk-model": "expert-01, dense",
    "x-smalltalk-margin": "1.5, ",
    "x-smalltalk-runner-up": "0, ",
  });
  const sizeOf = (texts: number) =>
    JSON.stringify(routingHeaders(Array(texts).fill(routed))).length;
  assert(Array.from({ length: 500 }, (_, i) => sizeOf(i + 1)).every((size) => size < 4300));
  assertEquals([sizeOf(64) > 500, sizeOf(500)], [true, 2], "of too many it sends nothing");
});

Deno.test("findTargets() falls back where a request asks for nothing in particular", async () => {
  const service = { mixture: MIXTURE, fallback: { model: "dense", margin: Infinity } };
  const modelFor = async (more: Partial<Parameters<typeof findTargets>[1]> = {}) => {
    const request = { model: "mixture", exclude: [], mix: undefined, reroute: undefined, ...more };
    const prompts = [Uint32Array.of(1, 6, 7)];
    const [{ model }] = await findTargets(service as unknown as Service, request, prompts);
    return model;
  };
  assertEquals(await modelFor(), "dense");
  assertEquals(await modelFor({ mix: 1 }), "dense");
  // The margin was found for M tokens and all experts.
  for (const more of [{ model: "mixture@2" }, { exclude: [0] }, { model: "expert-1" }]) {
    assertEquals(await modelFor(more), 1, JSON.stringify(more));
  }
});
