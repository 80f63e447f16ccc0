import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { saveCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { findArchitecture } from "../../../pipeline/model/shape.ts";
import { openPartitioner, PARTITIONERS } from "../../../pipeline/partition/partitioners.ts";
import { Mixture, openMixture } from "../../../pipeline/serving/mixture.ts";
import { assertClose, gpu, randomIntegers } from "../../kernels/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import { inFolder } from "../../tasks/support.ts";
import { learningOf, VOCABULARY, writeTokens } from "../partition/support.ts";
import { byteTokenizer, EXPERT, inServingRun, PREFIX, ROUTER } from "./support.ts";
import { branching, decoding, scoring } from "../../../pipeline/serving/forms.ts";
import { createQueue } from "../../../pipeline/serving/engine.ts";

const tokenizer = await byteTokenizer();

/** Runs a test with the mixture of a run of random weights. */
async function withMixture(
  experts: number,
  settings: Parameters<typeof openMixture>[0],
  test: (mixture: Mixture, run: string) => Promise<void>,
): Promise<void> {
  await inServingRun(experts, async (run) => {
    const mixture = await openMixture({ gpu, run, ...settings });
    try {
      await test(mixture, run);
    } finally {
      mixture.close();
    }
  });
}

/** Bytes of one expert with so many slots. */
async function sizeOf(run: string, slots: number): Promise<number> {
  const mixture = await openMixture({ gpu, run, slots });
  using lease = await mixture.lease(0);
  const { bytes } = lease.value;
  mixture.close();
  return bytes;
}

Deno.test("routeAll() gives what the f64 routers say of min(M, length) tokens, of many texts the bits of each alone", () =>
  withMixture(3, {}, async (mixture) => {
    const route = async (tokens: Uint32Array, prefix?: number, exclude?: readonly number[]) =>
      (await mixture.routeAll([tokens], prefix, exclude))[0];
    const tokens = randomIntegers(40, ROUTER.vocabulary, "prompt");
    const chosen = new Set<number>();
    for (const [length, prefix] of [[2], [7], [8], [14], [14, 11], [5, 3]]) {
      const { scores, ...routed } = await route(tokens.slice(0, length), prefix);
      const taken = [...tokens.slice(0, Math.min(prefix ?? PREFIX, length))];
      const expected = [0, 1, 2].map((i) =>
        -sequenceNll(ROUTER, anyWeights(ROUTER, `router ${i}`), taken)
      );
      assertClose(scores, expected, { atol: 1e-4, rtol: 1e-5 }, `scores of ${length} tokens`);
      const [first, second] = [0, 1, 2].sort((a, b) => expected[b] - expected[a]);
      assertEquals([routed.expert, routed.runnerUp, routed.prefixTokens], [
        first,
        second,
        taken.length,
      ]);
      const margin = expected[first] - expected[second];
      const actual = [routed.margin, routed.marginPerToken];
      assertClose(actual, [margin, margin / (taken.length - 1)], { atol: 2e-4, rtol: 1e-4 });
      chosen.add(first);
    }
    assert(chosen.size > 1, "the prompts must not all go to one expert, or the test says little");
    const one = await route(tokens.slice(0, 1));
    assertEquals([one.expert, one.runnerUp, one.margin, one.scores], [0, 1, 0, [0, 0, 0]]);
    const texts = Array.from({ length: 30 }, (_, i) => tokens.slice(i, i + 1 + i % 11));
    for (const [prefix, exclude] of [[undefined, []], [5, [1]]] as const) {
      const routes = await mixture.routeAll(texts, prefix, exclude);
      for (const [i, text] of texts.entries()) {
        assertEquals(routes[i], await route(text, prefix, exclude), `text ${i}`);
      }
    }
    await assertRejects(
      () => mixture.routeAll([texts[0], Uint32Array.of()]),
      InputError,
      "it is empty",
    );
    await assertRejects(() => route(Uint32Array.of(1, 270)), Error, "270");
  }));

/** A mixture of three experts of a partitioner of this kind, learned from random tokens. */
async function learnedMixture(kind: string, folder: string): Promise<Mixture> {
  const tokens = randomIntegers(400, VOCABULARY - 1, "learned").map((token) => 1 + token);
  const rows = Array.from({ length: 40 }, (_, i) => [...tokens.subarray(10 * i, 10 * i + 10)]);
  const shards = [await writeTokens(`${folder}/train-00000.arrow`, rows)];
  const learning = await learningOf(folder, { experts: 3, sequenceLength: 10 }, { shards });
  using _rows = learning.rows;
  await PARTITIONERS.get(kind)!.learn!(learning);
  const none = () => Promise.reject(new Error("routing needs no model"));
  return new Mixture({
    name: String,
    partitioner: (device) => openPartitioner(learning.folder, device),
    tokenizer: none,
    describe: none,
    load: none,
  });
}

Deno.test("routeAll() reports what costs are called that are no NLLs, and asks for them for one token too", () =>
  inFolder(async (folder) => {
    for (const [kind, cost] of [["ctbm", "squared distance"], ["random", "cost"]]) {
      const mixture = await learnedMixture(kind, `${folder}/${kind}`);
      const chosen = new Set<number>();
      for (const token of [5, 6, 7, 8, 9, 10]) {
        const [route] = await mixture.routeAll([Uint32Array.of(token)]);
        const asked = {
          tokens: Uint32Array.of(token),
          sequenceLength: 1,
          length: Uint32Array.of(1),
        };
        const scores = [...await mixture.costs(asked, [1])].map((own) => 0 - own);
        assertEquals([route.cost, route.scores], [cost, scores]);
        chosen.add(route.expert);
      }
      assert(chosen.size > 1, "the tokens must not all go to one expert, or the test says little");
      mixture.close();
    }
  }));

Deno.test("lease() keeps within the bytes, also where the first estimate is too low, and refuses what never fits", () =>
  inServingRun(3, async (run) => {
    const size = await sizeOf(run, 8);
    const mixture = await openMixture({ gpu, run, memory: 2 * size + 10 });
    for (const expert of [0, 1, 2, 0, 1]) {
      using _ = await mixture.lease(expert);
      assert(mixture.counts.bytes <= 2 * size + 10);
    }
    assertEquals([mixture.counts.loads, mixture.counts.bytes], [5, 2 * size]);
    mixture.close();
    for (const memory of [size - 1, 1000]) {
      const small = await openMixture({ gpu, run, memory });
      const limit = `the limit is ${memory}; allow more memory`;
      const { message } = await assertRejects(() => small.lease(0), InputError, limit);
      assertStringIncludes(message, `${run}/experts/expert-00" as memory must suffice: `);
      small.close();
    }
  }));

Deno.test("lease() refuses what is not there, not of the run, or of another tokenizer", () =>
  withMixture(3, {}, async (mixture, run) => {
    const refused = (model: number | string, text: string) =>
      assertRejects(() => mixture.lease(model), InputError, text);
    await refused("dense", "dense/config.json");
    await saveCheckpoint(`${run}/dense`, EXPERT, anyWeights(EXPERT, 1), { tokenizer: "ab12" });
    await refused("dense", `it is ab12, that of the run is ${tokenizer.sha256.slice(0, 12)}`);
    await refused(3, "one of 0 to 2, the experts of the run: it is 3");
    await refused(-1, "it is -1");
    await refused("../other", 'it is "../other"');
    const leases = [await mixture.lease(0), await mixture.lease(1)];
    const waiting = mixture.lease(0, undefined, AbortSignal.abort(new Error("enough")));
    await assertRejects(() => waiting, Error, "enough");
    mixture.close();
    for (const lease of leases) {
      await assertRejects(() => lease.value.engine.join().read([1]), Error, "closed");
    }
    await assertRejects(() => mixture.lease(2), Error, "it was closed");
  }));

Deno.test("a mixture takes a partitioner's folder that is named, and refuses one of other experts, or none", () =>
  withMixture(3, {}, async (nowhere, run) => {
    await Deno.rename(`${run}/partitioner`, `${run}/elsewhere`);
    const text = Uint32Array.of(1, 2);
    await assertRejects(
      () => nowhere.routeAll([text]),
      InputError,
      `"${run}/partitioner" must be there`,
    );
    const named = await openMixture({ gpu, run, partitioner: `${run}/elsewhere` });
    assertEquals([(await named.routeAll([text])).length, await named.experts()], [1, 3]);
    named.close();
    await Deno.remove(`${run}/elsewhere/router-02`, { recursive: true });
    const fewer = await openMixture({ gpu, run, partitioner: `${run}/elsewhere` });
    await assertRejects(
      () => fewer.partitioner(),
      InputError,
      "each of the run's 3 experts: it knows 2",
    );
    fewer.close();
  }));

const checkpoint = { config: EXPERT, weights: anyWeights(EXPERT, "expert"), notes: {}, sha256: "" };

Deno.test("size() of a form is near what a larger model takes, and grows with slots and capacity", () => {
  const config = { vocabulary: 1000, hidden: 64, layers: 4, heads: 4, context: 128 };
  const large = { ...checkpoint, config, weights: anyWeights(config, "large") };
  for (const form of [decoding({ slots: 1 }), decoding({ slots: 6, capacity: 100 })]) {
    const model = form.open(large, gpu, createQueue());
    const share = form.size(config) / model.bytes;
    assert(share > 0.5 && share < 1.1, `${form.name}: ${share}`);
    model.close(new Error("closed"));
  }
  const bytesWith = (most?: number) => {
    const { bytes, close } = branching({ most }).open(checkpoint, gpu, createQueue());
    close(new Error("closed"));
    return bytes;
  };
  assert(bytesWith(1) < bytesWith(2) && bytesWith(2) < bytesWith(), "more are quick");
  const [few, many] = [decoding({ slots: 1 }), decoding({ slots: 2 })];
  // Keys and values, 4 layers, 4 bytes each.
  assertEquals(many.size(config) - few.size(config), 2 * 4 * 128 * 64 * 4);
  // In Llama's shape, of two heads of keys and values alone, each of 24 columns.
  const grouped = findArchitecture({ architecture: "llama" }).resolve({
    ...config,
    keyHeads: 2,
    headSize: 24,
    intermediate: 96,
    ropeTheta: 10_000,
  });
  const llama = { ...config, ...grouped };
  assertEquals(many.size(llama) - few.size(llama), 2 * 4 * 128 * (2 * 24) * 4);
  assert(few.name !== many.name && scoring({ length: 3 }).name !== scoring({ length: 4 }).name);
});
