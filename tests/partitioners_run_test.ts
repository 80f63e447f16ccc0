// Every kind of partitioner through a whole run: partition, verification, resumption, training,
// evaluation, generation.

import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import {
  type Configuration,
  evaluateRun,
  generate,
  InputError,
  openPartitioner,
  partition,
  type PartitionSummary,
  readShards,
  readStatus,
  report,
  type RunEvent,
  score,
  trainExpert,
  verifyRun,
} from "../mod.ts";
import { wordText } from "../kernels/mod.ts";
import { readPrices } from "../pipeline/partition/mod.ts";
import { fromBatch } from "../pipeline/rows/arrow.ts";
import { readManifest, writeManifest } from "../pipeline/graph/mod.ts";
import { gpu } from "./kernels/support.ts";
import { SMALL_SETTINGS } from "./pipeline/run/support.ts";
import { inFolder, smallCorpus, task } from "./tasks/support.ts";

const TRAINING = {
  expertSteps: 3,
  expertHidden: 8,
  expertHeads: 2,
  expertLayers: 1,
  expertBatch: 4,
};

interface Whole {
  run: string;
  summary: PartitionSummary;
  warnings: string[];
}

/** Partitions, verifies, partitions again for nothing, trains experts and evaluates. */
async function whole(
  flags: Partial<Configuration>,
  test: (made: Whole) => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  await inFolder(async (folder) => {
    const run = `${folder}/run`;
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(96));
    const all = { ...SMALL_SETTINGS, input: [`${folder}/docs.jsonl`], holdout: 0.3, ...flags };
    const events: RunEvent[] = [];
    const make = () =>
      partition({ run, sources: { flags: all } }, { onEvent: (event) => events.push(event) });
    const summary = await make();
    const report = await verifyRun(run);
    assertEquals(report.problems, []);
    assertEquals(report.loads, summary.experts.map(({ sequences }) => sequences));
    events.length = 0;
    await make();
    assertEquals(
      events.flatMap((e) => e.type === "stage" && e.state === "done" ? [e.stage] : []),
      [],
    );
    assert(
      (await readStatus(run)).stages.every(({ state, partition }) =>
        state === "up to date" || !partition
      ),
    );

    for (const expert of [0, 1]) {
      await trainExpert(expert, { run, gpu: gpu!, sources: { flags: TRAINING } });
    }
    const evaluation = await evaluateRun({ run, gpu: gpu! }, {
      onEvent: (event) => events.push(event),
    });
    assert(evaluation.scores.mixture!.perplexity > 1);
    assertEquals(
      evaluation.segments.reduce((sum, { sequences }) => sum + sequences, 0),
      evaluation.sequences,
    );
    const warnings = events.flatMap((e) => e.type === "warning" ? [wordText(e.message)] : []);
    await test({ run, summary, warnings });
  });
}

/** Continues a prompt by the expert that the run chooses. */
async function prompted(run: string) {
  const generation = await generate({
    run,
    prompt: "sail wave",
    gpu: gpu!,
    maxNewTokens: 3,
    temperature: 0,
  });
  await Array.fromAsync(generation);
  return generation;
}

Deno.test("a run by clusters splits by whole sequences, in equal parts, and routes by prefixes", () =>
  whole({ partitioner: "ctbm" }, async ({ run, summary, warnings }) => {
    const [a, b] = summary.experts.map(({ sequences }) => sequences);
    assert(Math.abs(a - b) <= 1);
    assert(summary.nmi! > 0.4, `${summary.nmi}`); // one kind of text has more sequences than a part holds
    assertEquals([summary.costs, summary.rounds, warnings], ["per sequence", [], []]);
    const generation = await prompted(run);
    assertEquals(generation.route!.prefixTokens, Math.min(16, generation.promptTokens.length));
    const sums = generation.route!.scores;
    assert(sums.every((score) => score <= 0 && score >= -4), `${sums}`);
    const { missing } = await report({ run });
    assertEquals(missing.filter(({ part }) => /router/.test(part)), []);
    assertStringIncludes(await Deno.readTextFile(`${run}/report.html`), "There are no rounds.");
    const [block] = Deno.readDirSync(`${run}/scores`);
    for await (const batch of readShards([`${run}/scores/${block.name}/train.arrow`])) {
      assertEquals(batch.schema.metadata.get("smalltalk.prefix"), "32");
      assertEquals(batch.schema.metadata.get("smalltalk.costs"), "per sequence");
    }
  }));

Deno.test("a run of random parts goes by the hash alone unless a method is set", () =>
  whole({ partitioner: "random" }, async ({ run, summary }) => {
    assertEquals((await readManifest(`${run}/assignments/all`))!.settings.method, "argmax");
    assertEquals(summary.regret, 0);
    assert(summary.nmi! < 0.2, `${summary.nmi}`);
    const { route, expert } = await prompted(run);
    assertEquals(route!.scores[expert!], 0);
  }));

Deno.test("a run by sources takes true labels, and cannot route a prompt", () =>
  whole({ partitioner: "source" }, async ({ run, summary, warnings }) => {
    assert(summary.nmi! > 1 - 1e-9);
    assertEquals(
      new Set(summary.experts.map(({ sources }) => Object.keys(sources).join())),
      new Set(["sea", "code"]),
    );
    assertEquals(warnings.length, 1);
    assertStringIncludes(warnings[0], "held-out sequences go where their true labels say");
    const { code, out, err } = await task("evaluate", ["--run", run]); // it is done
    assertEquals([code, err.includes("true labels")], [0, false], err);
    assertMatch(out, /^mixture, by true labels +\d/m);
    await assertRejects(() => prompted(run), InputError, "Cannot route a text by source");
    const generation = await generate({
      run,
      prompt: "sail",
      expert: 1,
      gpu: gpu!,
      maxNewTokens: 2,
    });
    assert((await Array.fromAsync(generation)).length > 0);
  }));

Deno.test("an optimal assignment proves itself in a run, and its prices assign other sequences", () =>
  whole({ method: "optimal" }, async ({ run, summary }) => {
    const { proof } = summary;
    assert(proof!.gapShare < 1e-9 && proof!.gapPerSequence < 1e-9, JSON.stringify(proof));
    assert(proof!.greedy! >= proof!.cost - 1e-9 && proof!.cost >= proof!.unbalanced);
    const prices = await readPrices(`${run}/assignments/prices.json`);
    assertEquals([prices.experts, prices.rows, prices.prefix], [2, proof!.rows, 16]);
    assertEquals(prices.partitioner, (await readManifest(`${run}/partitioner`))!.result.routers);
    // A proof that says less than its rows and prices is found.
    const node = `${run}/assignments/all`;
    const { made: _, ...manifest } = (await readManifest(node))!;
    const kept = manifest.result.proof as Record<string, unknown>;
    const proofWrong = { ...kept, cost: 0.999 * proof!.cost };
    await writeManifest(node, { ...manifest, result: { ...manifest.result, proof: proofWrong } });
    const { problems } = await verifyRun(run);
    assertEquals(problems.map(({ file }) => file), ["assignments/all/manifest.json"]);
    assertStringIncludes(
      wordText(problems[0].what),
      `the cost of its proof must be ${proof!.cost}, as its rows`,
    );
  }));

Deno.test("routers that begin with clusters and keep their parts are routers like any others", () =>
  whole({ start: "ctbm", fixed: true }, async ({ run, summary }) => {
    assertEquals(summary.rounds.length, 3);
    assert(summary.rounds[0].nmi! > 0.35, `${summary.rounds[0].nmi}`);
    const partitioner = await openPartitioner(`${run}/partitioner`, () => Promise.resolve(gpu!));
    assertEquals(partitioner.kind, "em");
    partitioner.close();
    assertEquals((await prompted(run)).route!.scores.length, 2);
    const first = (await readManifest(`${run}/rounds/01/router-00`))!.settings;
    assertEquals([first.start, first.fixed], ["ctbm", true]);

    // With its partitioner lost, it ends in the same bytes.
    const made = async () =>
      (await readManifest(`${run}/partitioner`))!.files["router-01/model.safetensors"].sha256;
    const before = await made();
    await Deno.remove(`${run}/partitioner`, { recursive: true });
    await partition({ run });
    assertEquals(await made(), before);
    assertEquals((await verifyRun(run)).problems, []);
  }));

Deno.test("a partitioner of another run is used by its folder, whole sequences and all", () =>
  whole({ partitioner: "ctbm" }, ({ run }) =>
    inFolder(async (folder) => {
      await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(24));
      const flags = {
        ...SMALL_SETTINGS,
        input: [`${folder}/docs.jsonl`],
        tokenizer: `${run}/tokenizer.json`,
        routers: `${run}/partitioner`,
      };
      await partition({ run: `${folder}/run`, sources: { flags } });
      assertEquals((await verifyRun(`${folder}/run`)).problems, []);
      const partitioner = await openPartitioner(`${run}/partitioner`, () => Promise.resolve(gpu!));
      const [{ name: block }] = Deno.readDirSync(`${folder}/run/tokens`);
      const tokens = readShards([`${folder}/run/tokens/${block}/train.arrow`]);
      const [scored] = await Array.fromAsync(
        score(tokens, { partitioner }),
        (batch) => fromBatch(batch).nll!,
      );
      const [kept] = await Array.fromAsync(
        readShards([`${folder}/run/scores/${block}/train.arrow`]),
        (batch) => fromBatch(batch).nll!,
      );
      assertEquals(scored.slice(0, kept.length), kept.slice());
      partitioner.close();
    })));
