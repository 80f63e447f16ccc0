import { assert, assertEquals, assertRejects } from "@std/assert";
import type { Mixture } from "../../../../pipeline/serving/mixture.ts";
import { routeOf } from "../../../../pipeline/serving/route.ts";
import { apiError } from "../../../../pipeline/serving/server/errors.ts";
import {
  findTargets,
  isElsewhere,
  routingHeaders,
  routingOf,
  type Service,
  type Target,
} from "../../../../pipeline/serving/server/service.ts";

/** A mixture of three experts, which chooses the one that the first token names; contexts are of 9, 9 and 5 tokens. */
const MIXTURE = {
  routes: true,
  prefix: () => Promise.resolve(4),
  partitioner: () => Promise.resolve({ kind: "em" }),
  experts: () => Promise.resolve(3),
  dense: () => Promise.resolve(["dense"]),
  describe: (model: number) => Promise.resolve({ config: { context: [9, 9, 5][model] ?? 5 }, notes: {} }),
  routeAll: (texts: readonly Uint32Array[], _prefix?: number, exclude: readonly number[] = []) =>
    Promise.resolve(
      texts.map(([first]) => routeOf([0, 1, 2].map((expert) => Math.abs(expert - first)), 4, exclude)),
    ),
} as unknown as Mixture;
const UPSTREAMS = { addresses: new Map([[2, "http://10.0.0.1"]]), timeout: 1000 };
const prompts = (length: number) =>
  [2, 0].map((first) => Uint32Array.of(first, ...new Uint32Array(length - 1)));

type Asked = Parameters<typeof findTargets>[3] & { name?: string; length?: number };

const find = ({ name = "mixture", length = 2, ...choosing }: Asked, more: Partial<Service> = {}) =>
  findTargets({ mixture: MIXTURE, ...more } as Service, name, prompts(length), choosing);

Deno.test("findTargets() finds who answers each prompt: by its route, by name, or several that are mixed or may change", async () => {
  const cases: [Asked, models: unknown[], answering: number[][] | null][] = [
    [{}, [2, 0], null],
    [{ name: "expert-01" }, [1, 1], null],
    [{ name: "dense" }, ["dense", "dense"], null],
    [{ exclude: [2, 2] }, [1, 0], null],
    [{ mix: 1, reroute: null }, [2, 0], null],
    [{ mix: 2, exclude: [1] }, [2, 0], [[2, 0], [0, 2]]],
    [{ name: "mixture@2", reroute: 3 }, [2, 0], [[2], [0]]],
  ];
  for (const [asked, models, answering] of cases) {
    const routing = (await find(asked)).map(routingOf);
    assertEquals(routing.map(({ expert, model }) => expert ?? model), models);
    const experts = routing.map(({ answering }) => answering?.map(({ expert }) => expert) ?? null);
    assertEquals(experts, answering ?? [null, null]);
  }
  const [elsewhere] = await find({ length: 10, exclude: [0, 1] }, {
    serveExperts: [0],
    upstreams: UPSTREAMS,
  });
  const service = { upstreams: UPSTREAMS };
  assertEquals([isElsewhere(service, elsewhere.model), isElsewhere(service, "dense")], [true, false]);
});

Deno.test("findTargets() refuses what cannot answer, with its status", async () => {
  const tooLong = "context_length_exceeded";
  const cases: [Asked, Partial<Service>, message: string, status?: number, code?: string][] = [
    [{ exclude: [3] }, {}, "one of 0 to 2: it is 3"],
    [{ exclude: [2, 1, 0, 0] }, {}, "all 3 of them are excluded"],
    [{ name: "expert-01", exclude: [1] }, {}, "must not be excluded"],
    [{ mix: 4 }, {}, "mix must be from 1 to the number of experts, 3: it is 4"],
    [{ name: "expert-01", mix: 2 }, {}, "mix is for experts that a prompt chooses"],
    [{ name: "dense", reroute: 2 }, {}, "reroute is for experts that a prompt chooses"],
    [{ reroute: 2 }, { serveExperts: [0, 1] }, "all experts must be on this server"],
    [{ mix: 2 }, { upstreams: UPSTREAMS }, "all experts must be on this server"],
    [{ name: "expert-09" }, {}, "expert-09", 404, "model_not_found"],
    [{}, { serveExperts: [0] }, "expert 2: none does", 503, "expert_not_served"],
    [{ length: 6 }, {}, "context of 5 tokens: it has 6", 400, tooLong],
    [{ length: 6, mix: 3, exclude: [1] }, {}, "context of 5 tokens", 400, tooLong],
    [{ length: 6, reroute: 2 }, {}, "context of 5 tokens", 400, tooLong], // where they may change all count
  ];
  for (const [asked, more, message, status = 400, code = null] of cases) {
    const error = apiError(await assertRejects(() => find(asked, more), Error, message));
    assertEquals([error.status, error.code], [status, code]);
  }
  assertEquals((await find({ length: 6, reroute: 2, exclude: [2] })).map(({ model }) => model), [0, 0]);
});

Deno.test("routingOf() and routingHeaders() say who answers and by how much, and nothing of what was not routed", () => {
  const route = routeOf([3, 1.5, 7], 4);
  const targets: Target[] = [{ model: 1, route, answering: [] }, {
    model: "dense",
    route: null,
    answering: [],
  }];
  assertEquals(routingOf(targets[0]), {
    ...{ model: "expert-01", expert: 1, margin: 1.5, margin_per_token: 0.5, runner_up: 0 },
    ...{ scores: [-3, -1.5, -7], prefix_tokens: 4, cost: null, answering: null },
  });
  assertEquals(routingOf({ ...targets[0], route: { ...route, cost: "distance" } }).cost, "distance");
  assertEquals(new Set(Object.values(routingOf(targets[1]))), new Set(["dense", null]));
  assertEquals(routingHeaders(targets), {
    "x-smalltalk-model": "expert-01, dense",
    "x-smalltalk-margin": "1.5, ",
    "x-smalltalk-runner-up": "0, ",
  });
  const sizeOf = (texts: number) => JSON.stringify(routingHeaders(Array(texts).fill(targets[0]))).length;
  assert(Array.from({ length: 500 }, (_, i) => sizeOf(i + 1)).every((size) => size < 4300));
  assertEquals([sizeOf(64) > 500, sizeOf(500)], [true, 2], "of too many it says nothing");
});
