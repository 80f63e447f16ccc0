/**
 * Does the paper's 4.4M router fit a small machine? Takes one training step at batch 4 and scores a batch of 8, each
 * in a process of its own, on a software adapter (whose device memory is the process's own), and prints the peak of
 * resident memory. Exits with 1 where it is 3 GiB or more.
 *
 *   deno run --allow-read --allow-run tests/bench/paper_router_memory.ts
 */

import process from "node:process";
import { fileURLToPath } from "node:url";
import { openGpu } from "../../kernels/device/gpu.ts";
import { type ModelConfig, parameterCount } from "../../pipeline/model/shape.ts";
import { initialWeights } from "../../pipeline/model/parameters.ts";
import { createScorer } from "../../pipeline/model/scorer.ts";
import { createTrainer } from "../../pipeline/model/trainer.ts";

const CONFIG: ModelConfig = { vocabulary: 32_000, hidden: 96, layers: 12, heads: 12, context: 1024 };
const PREFIX = 256;
const LIMIT = 3 * 1024 ** 3;

/** Peak of this process's resident memory, in bytes: VmHWM of /proc, which Deno lets only a process with all permissions read. */
function peakMemory(): number {
  return process.resourceUsage().maxRSS * 1024;
}

/** Random tokens `[rows, PREFIX]`, the same every time. */
function tokens(rows: number): Uint32Array {
  return Uint32Array.from({ length: rows * PREFIX }, (_, i) => (i * 2_654_435_761) % CONFIG.vocabulary);
}

const WORK = {
  async train(): Promise<{ bytes: number; value: number }> {
    const gpu = await openGpu();
    const trainer = createTrainer(gpu, {
      config: CONFIG,
      start: [initialWeights(CONFIG, 1)],
      batch: 4,
      length: PREFIX,
      settings: { beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weightDecay: 0.1, clip: 0.1 },
    });
    trainer.step({ tokens: tokens(4), lengths: new Uint32Array(4).fill(PREFIX) }, 1e-4);
    const [{ loss }] = await trainer.drain();
    return { bytes: trainer.bytes, value: loss[0] };
  },
  async score(): Promise<{ bytes: number; value: number }> {
    const gpu = await openGpu();
    const models = [initialWeights(CONFIG, 1)];
    const scorer = createScorer(gpu, { config: CONFIG, models, batch: 8, length: PREFIX });
    const nll = await scorer.score(tokens(8), PREFIX, new Uint32Array(8).fill(PREFIX));
    return { bytes: scorer.bytes, value: nll.reduce((a, b) => a + b) / (8 * (PREFIX - 1)) };
  },
};

if (import.meta.main) {
  const [work] = Deno.args;
  if (work === "train" || work === "score") {
    const { bytes, value } = await WORK[work]();
    console.log(JSON.stringify({ bytes, value, peak: peakMemory() }));
    Deno.exit(0);
  }
  const gpu = await openGpu();
  console.log(
    `${(parameterCount(CONFIG) / 1e6).toFixed(2)}M parameters on ${gpu.adapter}, Deno ${Deno.version.deno}`,
  );
  gpu.close();
  let fits = true;
  for (const [work, what] of [["train", "one training step at batch 4"], ["score", "scoring a batch of 8"]]) {
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--allow-read", fileURLToPath(new URL(import.meta.url)), work],
      stderr: "inherit",
    }).output();
    if (code !== 0) Deno.exit(1);
    const { bytes, value, peak } = JSON.parse(new TextDecoder().decode(stdout));
    const mib = (bytes: number) => `${Math.round(bytes / 1024 ** 2)} MiB`;
    console.log(
      `${what}, ${PREFIX} tokens: peak ${mib(peak)}, tensors ${mib(bytes)}, ${
        value.toFixed(4)
      } nats per token ` +
        `(ln V is ${Math.log(CONFIG.vocabulary).toFixed(4)})`,
    );
    fits &&= peak < LIMIT;
  }
  if (!fits) {
    console.error(`the peak must stay below ${LIMIT / 1024 ** 3} GiB`);
    Deno.exit(1);
  }
}
