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

/** A mixture of three experts, which chooses the one that the first token names; contexts are of 5 tokens. */
const MIXTURE = {
  routes: true,
  prefix: () => Promise.resolve(4),
  partitioner: () => Promise.resolve({ kind: "em" }),
  experts: () => Promise.resolve(3),
  dense: () => Promise.resolve(["dense"]),
  describe: () => Promise.resolve({ config: { context: 5 }, notes: {} }),
  routeAll: (texts: readonly Uint32Array[], _prefix?: number, exclude: readonly number[] = []) =>
    Promise.resolve(
      texts.map(([first]) => routeOf([0, 1, 2].map((expert) => Math.abs(expert - first)), 4, exclude)),
    ),
} as unknown as Mixture;

const serviceOf = (more: Partial<Service> = {}) => ({ mixture: MIXTURE, ...more }) as Service;
const PROMPTS = [2, 0].map((first) => Uint32Array.of(first, 9));

/** Refused by what status and code. */
async function refused(
  action: () => Promise<unknown>,
  status: number,
  message: string,
  code: string | null = null,
) {
  const error = apiError(await assertRejects(action, Error, message));
  assertEquals([error.status, error.code], [status, code]);
}

Deno.test("findTargets() routes each prompt on its own, or takes the model that is named", async () => {
  const routed = await findTargets(serviceOf(), "mixture", PROMPTS);
  assertEquals(routed.map(({ model, route }) => [model, route?.margin]), [[2, 1], [0, 1]]);
  const named = await findTargets(serviceOf(), "expert-01", PROMPTS);
  assertEquals(named.map(({ model, route }) => [model, route]), PROMPTS.map(() => [1, null]));
  const without = await findTargets(serviceOf(), "mixture", PROMPTS, { exclude: [2] });
  assertEquals(without.map(({ model }) => model), [1, 0]);
});

Deno.test("findTargets() refuses what cannot answer, with its status", async () => {
  const long = [new Uint32Array(6)];
  await refused(() => findTargets(serviceOf(), "mixture", long), 400, "has 6", "context_length_exceeded");
  await refused(
    () => findTargets(serviceOf(), "mixture", PROMPTS, { exclude: [3] }),
    400,
    "one of 0 to 2: it is 3",
  );
  await refused(
    () => findTargets(serviceOf(), "mixture", PROMPTS, { exclude: [0, 1, 2] }),
    400,
    "all 3 of them are excluded",
  );
  await refused(
    () => findTargets(serviceOf(), "expert-01", PROMPTS, { exclude: [1] }),
    400,
    "must not be excluded",
  );
  await refused(() => findTargets(serviceOf(), "expert-09", PROMPTS), 404, "expert-09", "model_not_found");
  await refused(
    () => findTargets(serviceOf(), "mixture", PROMPTS, { exclude: [2, 2, 1, 0, 0] }),
    400,
    "all 3 of them are excluded",
  );
  const some = serviceOf({ serveExperts: [0] });
  await refused(() => findTargets(some, "mixture", PROMPTS), 503, "expert 2: none does", "expert_not_served");
});

Deno.test("findTargets() chooses who is mixed or may change, of the mixture alone and where all experts are here", async () => {
  const [first, second] = await findTargets(serviceOf(), "mixture", PROMPTS, { mix: 2, exclude: [1] });
  const experts = ({ answering }: typeof first) => answering?.map(({ expert }) => expert);
  assertEquals([first.model, experts(first), second.model, experts(second)], [2, [2, 0], 0, [0, 2]]);
  const [changing] = await findTargets(serviceOf(), "mixture@2", PROMPTS, { reroute: 3 });
  assertEquals([changing.model, experts(changing), changing.route?.expert], [2, [2], 2]);
  const [plain] = await findTargets(serviceOf(), "mixture", PROMPTS, { mix: 1, reroute: null });
  assertEquals(routingOf(plain).answering, null);
  const many = (
    more: Partial<Service>,
    name: string,
    choosing: Parameters<typeof findTargets>[3],
    message: string,
  ) => refused(() => findTargets(serviceOf(more), name, PROMPTS, choosing), 400, message);
  await many({}, "mixture", { mix: 4 }, "mix must be from 1 to the number of experts, 3: it is 4");
  await many(
    {},
    "expert-01",
    { mix: 2 },
    "mix is for experts that a prompt chooses: it is 2, and one model is named",
  );
  await many(
    {},
    "dense",
    { reroute: 2 },
    "reroute is for experts that a prompt chooses: it is 2, and one model is named",
  );
  await many({ serveExperts: [0, 1] }, "mixture", { reroute: 2 }, "all experts must be on this server");
  const upstreams = { addresses: new Map([[2, "http://10.0.0.1"]]), timeout: 1000 };
  await many({ upstreams }, "mixture", { mix: 2 }, "all experts must be on this server: not all are");
  const long = [new Uint32Array(6)];
  const tooLong = () => findTargets(serviceOf(), "mixture", long, { mix: 2 });
  await refused(tooLong, 400, "has 6", "context_length_exceeded");
});

Deno.test("an expert on another server answers there, whatever is served here and however long the prompt is", async () => {
  const upstreams = { addresses: new Map([[2, "http://10.0.0.1"]]), timeout: 1000 };
  const service = serviceOf({ serveExperts: [0], upstreams });
  const long = Uint32Array.of(2, ...new Uint32Array(9));
  const [target] = await findTargets(service, "mixture", [long]);
  assertEquals([target.model, isElsewhere(service, target.model)], [2, true]);
  assertEquals(isElsewhere(service, "dense"), false);
});

Deno.test("routingOf() and routingHeaders() say who answers and by how much, and nothing of what was not routed", () => {
  const route = routeOf([3, 1.5, 7], 4);
  const targets: Target[] = [{ model: 1, route, answering: [] }, {
    model: "dense",
    route: null,
    answering: [],
  }];
  assertEquals(routingOf(targets[0]), {
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
  assertEquals(routingOf({ ...targets[0], route: { ...route, cost: "distance" } }).cost, "distance");
  const answering = [{ expert: 1, weight: 0.75 }, { expert: 0, weight: 0.25 }];
  const rule = { mix: 2, prefix: 4, temperature: 1, exclude: [] };
  assertEquals(routingOf({ ...targets[0], answering, rule }).answering, answering);
  assertEquals(new Set(Object.values(routingOf(targets[1]))), new Set(["dense", null]));
  assertEquals(routingHeaders(targets), {
    "x-smalltalk-model": "expert-01, dense",
    "x-smalltalk-margin": "1.5, ",
    "x-smalltalk-runner-up": "0, ",
  });
});

Deno.test("findTargets() holds a prompt against the experts that begin it, and where they may change against all", async () => {
  const contexts = [9, 9, 4];
  const describe = (model: number) => Promise.resolve({ config: { context: contexts[model] }, notes: {} });
  const service = serviceOf({ mixture: { ...MIXTURE, describe } as unknown as Mixture });
  const prompts = [Uint32Array.of(0, 9, 9, 9, 9)]; // expert 0 is the likeliest, then expert 1
  const modelsOf = async (choosing: Parameters<typeof findTargets>[3]) =>
    (await findTargets(service, "mixture", prompts, choosing)).map(({ model }) => model);
  const tooLong = (choosing: Parameters<typeof findTargets>[3]) =>
    refused(
      () => findTargets(service, "mixture", prompts, choosing),
      400,
      "context of 4 tokens: it has 5",
      "context_length_exceeded",
    );
  assertEquals(await modelsOf({ mix: 2 }), [0]);
  await tooLong({ mix: 3 });
  await tooLong({ reroute: 2 });
  assertEquals(await modelsOf({ reroute: 2, exclude: [2] }), [0]);
});

Deno.test("routingHeaders() says nothing of so many texts that headers would be too long for clients", () => {
  const target = { model: 1, route: routeOf([3.000001, 1.5000001, 7], 4), answering: [] };
  const sizeOf = (texts: number) => JSON.stringify(routingHeaders(Array(texts).fill(target))).length;
  assertEquals(Object.keys(routingHeaders(Array(64).fill(target))).length, 3);
  assertEquals(routingHeaders(Array(500).fill(target)), {});
  assert(Array.from({ length: 500 }, (_, i) => sizeOf(i + 1)).every((size) => size < 4300));
});
