import type { RoundMetrics } from "../../../../pipeline/graph/events.ts";
import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError, RunError } from "../../../../kernels/errors.ts";
import { openGpu } from "../../../../kernels/device/gpu.ts";
import type { Columns } from "../../../../pipeline/rows/columns.ts";
import { uniform } from "../../../../pipeline/random.ts";
import {
  trainRouters,
  type TrainRoutersOptions,
} from "../../../../pipeline/partition/em/train_routers.ts";
import { withoutRoom } from "../../../kernels/device/support.ts";

const gpu = await openGpu();
const S = 16;
const VOCABULARY = 32;

/**
 * An endless corpus of two languages over the same words: three times in four a token is a function
 * of the one before, another function in even sequences than in odd ones. A small router learns one
 * of them better than both.
 */
function twoKinds() {
  let next = 0;
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

const options: Omit<TrainRoutersOptions, "next"> = {
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
};

async function run(changes: Partial<TrainRoutersOptions> = {}) {
  const rounds: RoundMetrics[] = [];
  const onRound = (metrics: RoundMetrics) => void rounds.push(metrics);
  const models = await trainRouters({ ...options, next: twoKinds(), onRound, ...changes });
  return { models, rounds };
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

Deno.test("trainRouters() gives the same bits again; another seed gives others, and given routers go on", async () => {
  const whole = await run();
  assertEquals(bits((await run()).models), bits(whole.models));
  assertNotEquals(bits((await run({ seed: 4 })).models), bits(whole.models));
  const further = await run({ models: whole.models });
  assert(further.rounds[0].nmi! >= whole.rounds[0].nmi!, `${further.rounds[0].nmi}`);
  assert(
    further.rounds[0].nllPerToken < whole.rounds[0].nllPerToken,
    `${further.rounds[0].nllPerToken}`,
  );
});

Deno.test("trainRouters() mixes prefix lengths by seed, and one length alone is that prefix", async () => {
  const plain = await run({ rounds: 1 });
  assertEquals(bits((await run({ rounds: 1, prefixLengths: [12] })).models), bits(plain.models));
  const mixed = await run({ rounds: 1, prefixLengths: [4, 12, 16] });
  assertNotEquals(bits(mixed.models), bits(plain.models));
  assertEquals(
    bits((await run({ rounds: 1, prefixLengths: [4, 12, 16] })).models),
    bits(mixed.models),
  );
});

Deno.test("trainRouters() reads no token beyond the prefix", async () => {
  const whole = twoKinds();
  const next = async (n: number) => {
    const rows = await whole(n);
    rows.tokens!.forEach((_, i) => i % S >= 12 && (rows.tokens![i] = 1));
    return rows;
  };
  assertEquals(
    bits((await run({ rounds: 2, next })).models),
    bits((await run({ rounds: 2 })).models),
  );
});

Deno.test("trainRouters() stops with router, step and round where a loss is not finite", async () => {
  const { models } = await run({ rounds: 1 });
  models[1].get("gpt_neox.final_layer_norm.weight")![0] = NaN;
  // Its costs, before any step.
  await assertRejects(() => run({ models }), InputError, "nll of row 0, expert 1 is NaN");
  const wrong = "router 0 as its loss must be finite: it is NaN at step 2 (round 1)";
  await assertRejects(() => run({ routerRate: 1e30 }), RunError, wrong);
});

Deno.test("trainRouters() stops at its signal and refuses impossible settings", async () => {
  const controller = new AbortController();
  const onStep = () => controller.abort(new DOMException("enough", "AbortError"));
  await assertRejects(() => run({ signal: controller.signal, onStep }), DOMException, "enough");
  await assertRejects(() => run({ prefix: 17 }), InputError, "2 to 16 tokens");
});

Deno.test("trainRouters() keeps no buffers where the scorer finds no room next to the trainer", async () => {
  const { device, held } = withoutRoom(gpu, (_, arena) => arena === 1);
  await assertRejects(() => run({ gpu: device }), Error, "no room for");
  assertEquals(held(), 0);
});
