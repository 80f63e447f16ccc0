import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { type ClusterPlan, planCluster } from "../../../pipeline/cost/cluster.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";

const TOKENS = 1e12;
const CLUSTER = { tokens: TOKENS, machines: 1000, flops: 18e12, diskBytesPerSecond: 1e10 };

/** Plans the paper's sizes with so many experts. */
function makePlan(experts: number, more: Partial<typeof CLUSTER> = {}): ClusterPlan {
  const flags = { experts, holdout: 1e-5, shardSequences: 262_144 };
  return planCluster(resolveConfiguration({ preset: "paper-335m", flags }), {
    ...CLUSTER,
    ...more,
  });
}

const near = (actual: number, expected: number, what: string) =>
  assert(Math.abs(actual / expected - 1) < 0.01, `${what}: ${actual} instead of ${expected}`);

/** FLOPs of a forward pass of one sequence, as the paper's appendix counts them. */
const forward = (H: number, L: number, S: number, V = 32_000) =>
  S * H + L * (8 * S * H ** 2 + 4 * S ** 2 * H + 16 * S * H ** 2) + 2 * S * H * V + 3 * S * V;

Deno.test("planCluster() counts time, disk, traffic and files as a plain calculation does", () => {
  for (const E of [32, 256]) {
    const plan = makePlan(E);
    const N = Math.floor(TOKENS / 1024);
    assertEquals([plan.experts, plan.sequences], [E, N]);
    const of = (name: string) => plan.stages.find((stage) => stage.name === name)!;
    assertEquals(plan.stages.map(({ processes }) => processes), [1000, E, 1000, 1, 1, E, E]);
    const [tokens, scores] = [N * (2 * 1024 + 32), N * (4 * E + 32)];

    near(of("score").computeSeconds, (N * E * forward(96, 12, 256)) / 18e12 / 1000, "score");
    assertEquals([of("score").readBytes, of("score").writtenBytes], [tokens, scores]);
    // The paper's own count: six FLOPs per weight and token, and what attention and the head add.
    near(
      of("train-expert").computeSeconds,
      (3 * (N / E) * forward(1024, 24, 1024)) / 18e12,
      "train-expert",
    );
    assert(of("train-expert").computeSeconds > 6 * 0.335e9 * TOKENS / E / 18e12);
    const round = 1362 * 3 * 32 * forward(96, 12, 256) * E + 43_584 * E * E * forward(96, 12, 256);
    near(of("train-routers").computeSeconds, (94 * round) / 18e12 / E, "train-routers");
    assertEquals([plan.exchangeBytes, plan.expertBytes], [4 * 43_584 * E * E, tokens / E]);
    assertEquals(of("split").files, Math.max(E, Math.ceil(N / E / 262_144)));
    const { seconds, diskBytes } = plan;
    near(
      seconds,
      plan.stages.reduce((sum, s) => sum + Math.max(s.computeSeconds, s.diskSeconds), 0),
      "all",
    );
    const [text, expert, router] = [TOKENS * (1 + 0.2 * Math.log2(32_000)), 335e6, 4.4e6];
    near(diskBytes, text + 2 * tokens + scores + 18 * N + E * (28 * expert + 4 * router), "disk");
  }
});

Deno.test("planCluster() takes no more machines than there are, and refuses less text than experts", () => {
  const few = makePlan(256, { machines: 10 });
  assert(few.stages.every(({ processes }) => processes <= 10));
  const [many, one] = [makePlan(256), few].map(({ stages }) =>
    stages.find(({ name }) => name === "train-expert")!
  );
  near(one.computeSeconds, 25.6 * many.computeSeconds, "experts on ten machines");
  const rule =
    "there must be a sequence of 1024 tokens for each of 32 experts: corpusTokens is 31744";
  assertThrows(() => makePlan(32, { tokens: 1024 * 31 }), InputError, rule);
});
