import type { RoundMetrics } from "../../../../pipeline/graph/events.ts";
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError, RunError } from "../../../../kernels/errors.ts";
import { openGpu } from "../../../../kernels/device/gpu.ts";
import type { Columns } from "../../../../pipeline/rows/columns.ts";
import { uniform } from "../../../../pipeline/random.ts";
import {
  type RouterState,
  trainRouters,
  type TrainRoutersOptions,
} from "../../../../pipeline/partition/em/train_routers.ts";
import { withoutRoom } from "../../../kernels/device/support.ts";

const gpu = await openGpu();
const S = 16;
const VOCABULARY = 32;

/**
 * An endless corpus of two languages over the same words: three times in four a token is a function of the one before,
 * another function in even sequences than in odd ones. A small router learns one of them better than both.
 */
function twoKinds(consumed: number) {
  let next = consumed;
  return (n: number): Promise<Columns> => {
    const ids = Array.from({ length: n }, () => next++);
    const tokens = new Uint16Array(n * S);
    ids.forEach((id, row) => {
      for (let i = 0; i < S; i++) {
        const place = id * S + i;
        const before = tokens[row * S + i - 1];
        const free = i === 0 || uniform(1, "free", place) < 0.25;
        tokens[row * S + i] = free
          ? Math.floor(uniform(1, "word", place) * VOCABULARY)
          : (id % 2 === 0 ? before * 7 + 3 : before * 5 + 1) % VOCABULARY;
      }
    });
    return Promise.resolve({
      rows: n,
      sequence: BigUint64Array.from(ids, BigInt),
      source: ids.map((id) => id % 2 === 0 ? "even" : "odd"),
      tokens,
      length: new Uint32Array(n).fill(S),
    });
  };
}

const options: TrainRoutersOptions = {
  gpu,
  model: { vocabulary: VOCABULARY, hidden: 16, layers: 1, heads: 2, context: S },
  experts: 2,
  prefix: 12,
  rounds: 5,
  roundSequences: 64,
  routerBatch: 8,
  routerRate: 1e-2,
  routerWarmup: 4,
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clip: 1,
  seed: 3,
  open: twoKinds,
};

async function run(changes: Partial<TrainRoutersOptions> = {}) {
  const rounds: RoundMetrics[] = [];
  const states: RouterState[] = [];
  const models = await trainRouters({
    ...options,
    onRound: async (metrics, state) => {
      rounds.push(metrics);
      states.push(await state());
    },
    ...changes,
  });
  return { models, rounds, states };
}

const bits = (models: Map<string, Float32Array>[]) =>
  models.map((model) => [...model].map(([name, v]) => [name, [...v]]));

Deno.test("trainRouters() tells two kinds of sequence apart without seeing their source, at balanced loads", async () => {
  const { rounds, models } = await run({ rounds: 8, roundSequences: 128 });
  assertEquals(
    rounds.map(({ round, steps, sequences }) => [round, steps, sequences]),
    Array.from({ length: 8 }, (_, i) => [i + 1, 16 * (i + 1), 256 * (i + 2)]),
  );
  const last = rounds.at(-1)!;
  assert(last.nmi! > 0.9, `NMI ${last.nmi}`);
  assert(
    last.nllPerToken < rounds[0].nllPerToken && last.nllPerToken < Math.log(VOCABULARY),
    `${last.nllPerToken}`,
  );
  assert(Math.abs(last.shares.reduce((a, b) => a + b) - 1) < 1e-12);
  assert(last.regret >= 0);
  assertEquals(last.rate, options.routerRate);
  assertEquals(rounds[0].rate, options.routerRate); // warm-up is over after 4 of 16 steps
  assertNotEquals(bits(models)[0], bits(models)[1]);
});

Deno.test("trainRouters() gives the same bits again, and resumed after any round; another seed gives others", async () => {
  const whole = await run();
  assertEquals(bits((await run()).models), bits(whole.models));
  assertNotEquals(bits((await run({ seed: 4 })).models), bits(whole.models));
  for (const state of [whole.states[0], whole.states[3]]) {
    const resumed = await run({ state });
    assertEquals(bits(resumed.models), bits(whole.models));
    assertEquals(resumed.rounds, whole.rounds.slice(state.round));
  }
});

Deno.test("trainRouters() mixes prefix lengths by seed, and one length alone is that prefix", async () => {
  const plain = await run({ rounds: 1 });
  assertEquals(bits((await run({ rounds: 1, prefixLengths: [12] })).models), bits(plain.models));
  const mixed = await run({ rounds: 1, prefixLengths: [4, 12, 16] });
  assertNotEquals(bits(mixed.models), bits(plain.models));
  assertEquals(bits((await run({ rounds: 1, prefixLengths: [4, 12, 16] })).models), bits(mixed.models));
});

Deno.test("trainRouters() reads no token beyond the prefix", async () => {
  const other = (consumed: number) => {
    const next = twoKinds(consumed);
    return async (n: number) => {
      const rows = await next(n);
      rows.tokens!.forEach((_, i) => i % S >= 12 && (rows.tokens![i] = 1));
      return rows;
    };
  };
  assertEquals(bits((await run({ rounds: 2, open: other })).models), bits((await run({ rounds: 2 })).models));
});

Deno.test("trainRouters() stops with router, step and round where a loss is not finite", async () => {
  const { states: [state] } = await run({ rounds: 1 });
  state.trainer.weights[1].get("gpt_neox.final_layer_norm.weight")![0] = NaN;
  await assertRejects(() => run({ state }), InputError, "nll of row 0, expert 1 is NaN"); // its costs, before any step
  const fresh = await run({ rounds: 1 });
  fresh.states[0].trainer.moments[0].get("gpt_neox.final_layer_norm.bias")![0] = NaN;
  await assertRejects(
    () => run({ state: fresh.states[0] }),
    RunError,
    "router 0 as its loss must be finite: it is NaN at step 10 (round 2)",
  );
});

Deno.test("trainRouters() stops at its signal and refuses impossible settings", async () => {
  const controller = new AbortController();
  const onStep = () => controller.abort(new DOMException("enough", "AbortError"));
  await assertRejects(() => run({ signal: controller.signal, onStep }), DOMException, "enough");
  await assertRejects(() => run({ prefix: 17 }), InputError, "2 to 16 tokens");
});

const bySource = (rows: Columns) =>
  Promise.resolve(Uint16Array.from(rows.source!, (label) => Number(label === "odd")));

Deno.test("trainRouters() begins with the parts that it is given, and then goes by its routers", async () => {
  const given = await run({ begin: bySource });
  const plain = await run();
  assert(given.rounds[0].nmi! > plain.rounds[0].nmi! && given.rounds[0].nmi! > 0.9, `${given.rounds[0].nmi}`);
  const resumed = await run({ begin: bySource, state: given.states[1] });
  assertEquals(bits(resumed.models), bits(given.models));
  // Where the routers of a state choose, what it began with is not asked for.
  const never = () => Promise.reject(new Error("asked"));
  assertEquals(bits((await run({ begin: never, state: given.states[1] })).models), bits(given.models));
});

Deno.test("trainRouters() keeps the parts that it is given in every round where they are fixed", async () => {
  const asked: number[] = [];
  const begin = (rows: Columns) => (asked.push(Number(rows.sequence[0])), bySource(rows));
  const fixed = await run({ begin, fixed: true });
  assertEquals(asked, [0, 128, 256, 384, 512, 640]);
  assertEquals(fixed.rounds.map(({ nmi }) => Math.round(nmi! * 1e9) / 1e9), [1, 1, 1, 1, 1]);
  const resumed = await run({ begin: bySource, fixed: true, state: fixed.states[2] });
  assertEquals(bits(resumed.models), bits(fixed.models));
  assertEquals(resumed.rounds, fixed.rounds.slice(3));
});

Deno.test("trainRouters() keeps no buffers where the scorer finds no room next to the trainer", async () => {
  const { device, held } = withoutRoom(gpu, (_, arena) => arena === 1);
  await assertRejects(() => run({ gpu: device }), Error, "no room for");
  assertEquals(held(), 0);
});
