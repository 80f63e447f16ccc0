import { tableFromIPC } from "apache-arrow";
import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertNotEquals,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { readShards } from "../../../pipeline/rows/arrow.ts";
import { readDocumentScores } from "../../../pipeline/evaluation/documents.ts";
import { evaluate } from "../../../pipeline/evaluation/evaluate.ts";
import { evaluateModels, evaluateRun } from "../../../pipeline/stages/evaluate_run.ts";
import { exportModel } from "../../../pipeline/stages/export_run.ts";
import type { CheckpointNotes } from "../../../pipeline/checkpoints/hugging_face_config.ts";
import { loadCheckpoint, saveCheckpoint } from "../../../pipeline/checkpoints/checkpoint.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import { partHash } from "../../../pipeline/partition/manifests.ts";
import { openMixture } from "../../../pipeline/serving/mixture.ts";
import { statusOf } from "../../../pipeline/stages/status.ts";
import { jsonText } from "../../../pipeline/run/files.ts";
import { seal } from "../../../pipeline/run/seal.ts";
import { vouchedFiles } from "../../../pipeline/run/manifest.ts";
import { lockRun } from "../../../pipeline/run/lock.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { gpu } from "../../kernels/support.ts";
import { copyFolder, hashes, SMALL, smallCorpus, task } from "../../tasks/support.ts";
import { InputError, RunError } from "../../../kernels/errors.ts";
import { describe } from "../../../tasks/errors.ts";
import { worded } from "../../../tasks/wording.ts";
import { anyWeights } from "../model/support.ts";

const MODEL: ModelConfig = { vocabulary: 300, hidden: 8, layers: 1, heads: 2, context: 32 };

const partitioned = await Deno.makeTempDir();
{
  await Deno.writeTextFile(`${partitioned}/docs.jsonl`, smallCorpus());
  const flags = [
    "--run",
    `${partitioned}/run`,
    "--input",
    `${partitioned}/docs.jsonl`,
    ...SMALL,
    "--holdout",
    "0.3",
  ];
  const { code, err } = await task("partition", flags);
  assertEquals(code, 0, err);
}
globalThis.addEventListener("unload", () => Deno.removeSync(partitioned, { recursive: true }));

async function readJson(path: string) {
  return JSON.parse(await Deno.readTextFile(path));
}

async function saveModel(
  run: string,
  folder: string,
  notes: CheckpointNotes = {},
  config = MODEL,
): Promise<void> {
  const { result: { tokenizer } } = await readJson(`${run}/manifests/tokenize.json`);
  await saveCheckpoint(`${run}/${folder}`, config, anyWeights(config, folder), {
    tokenizer,
    eos: 0,
    ...notes,
  });
}

/** Runs a test in a copy of a partitioned run, with as many trained experts as named. */
async function inRun(experts: number, test: (run: string) => Promise<void>): Promise<void> {
  const run = `${partitioned}/copy`;
  copyFolder(`${partitioned}/run`, run);
  try {
    for (let expert = 0; expert < experts; expert++) {
      const partition = partHash(await readJson(`${run}/partition/expert-0${expert}/manifest.json`));
      await saveModel(run, `experts/expert-0${expert}`, { partition });
    }
    await test(run);
  } finally {
    await Deno.remove(run, { recursive: true });
  }
}

async function refusal(run: string, kind: typeof InputError = InputError): Promise<string> {
  const error = await assertRejects(() => evaluateRun({ run, resamples: 3, gpu }), kind);
  const text = await describe(error);
  assert(!text.includes("\n"), text);
  return text;
}

Deno.test("evaluateRun() keeps the evaluation of the run's held-out shards, and takes segments as the partition did", () =>
  inRun(2, async (run) => {
    await saveModel(run, "dense");
    const actual = await evaluateRun({ run, resamples: 20, gpu });
    assertEquals(await readJson(`${run}/evaluation.json`), JSON.parse(JSON.stringify(actual)));
    const { outputs } = await readJson(`${run}/manifests/tokenize.json`);
    const paths = Object.keys(outputs).filter((path) => path.startsWith("tokens/test-"));
    const mixture = await openMixture({ run, gpu });
    const expected = await evaluate({
      mixture,
      prefix: 16,
      baselines: ["dense"],
      open: () => readShards(paths.map((path) => `${run}/${path}`)),
      resamples: 20,
    });
    mixture.close();
    assertEquals(actual, expected);
    for (const { expert, sequences } of actual.segments) {
      const { test } = await readJson(`${run}/partition/expert-0${expert}/manifest.json`);
      assertEquals(sequences, test.sequences, `segment ${expert}`);
    }
    assertEquals(actual.prefixes.map(({ prefix }) => prefix), [4, 8, 16, 32]);
    assertEquals(actual.sources.map(({ source }) => source), ["code", "sea"]);
  }));

Deno.test("evaluateRun() keeps what every document came to, of which the perplexities are the sums", () =>
  inRun(2, async (run) => {
    await saveModel(run, "dense");
    const { scores, documents, sequences, tokens, sources } = await evaluateRun({ run, resamples: 3, gpu });
    const path = `${run}/evaluation.arrow`;
    const kept = await readDocumentScores(path, await vouchedFiles(run));
    const { outputs } = await readJson(`${run}/manifests/tokenize.json`);
    const held = new Map<bigint, { source: string; sequences: number; tokens: number }>();
    for (const shard of Object.keys(outputs).filter((name) => name.startsWith("tokens/test-")).sort()) {
      for (const { document, source, length } of tableFromIPC(await Deno.readFile(`${run}/${shard}`))) {
        const own = held.get(document) ?? { source, sequences: 0, tokens: 0 };
        held.set(document, { ...own, sequences: own.sequences + 1, tokens: own.tokens + length - 1 });
      }
    }
    const rows = tableFromIPC(await Deno.readFile(path)).toArray().map((row) => row!.toJSON());
    assertEquals(
      rows.map(({ document, source, sequences, tokens }) => [document, { source, sequences, tokens }]),
      [...held],
    );
    assertEquals([kept.document.length, kept.sequences.reduce((a, b) => a + b)], [documents, sequences]);
    assertEquals(Object.keys(kept.nll), ["mixture", "dense", "oracle", "random"]);
    for (const [way, score] of Object.entries(scores)) {
      const nll = rows.reduce((sum, row) => sum + row[way], 0) / tokens;
      assertAlmostEquals(nll, score!.nllPerToken, 1e-12, way);
    }
    for (const { source, tokens, perplexity } of sources) { // no document of this corpus has sequences of two sources
      const nll = rows.reduce((sum, row) => sum + (row.source === source ? row.dense : 0), 0);
      assertAlmostEquals(Math.exp(nll / tokens), perplexity.dense!, 1e-9, source);
    }
    const bytes = await Deno.readFile(path);
    const stateOf = async () => (await statusOf(run)).stages.find(({ stage }) => stage === "evaluate")!.state;
    for (let part = 1; part <= 3; part++) await evaluateModels({ index: part, of: 3 }, { run, gpu });
    await evaluateRun({ run, resamples: 3, gpu, force: true });
    assertEquals(await Deno.readFile(path), bytes, "another evaluation, from parts");
    await Deno.remove(path);
    assertEquals(await stateOf(), "damaged");
    const manifest = `${run}/manifests/evaluate.json`;
    const { checksum: _, ...made } = await readJson(manifest);
    delete made.outputs["evaluation.arrow"];
    await Deno.writeTextFile(manifest, jsonText(seal(made)));
    assertEquals(await stateOf(), "up to date", "an older version's, which made no such file");
    await Deno.writeFile(path, bytes);
    await evaluateRun({ run, resamples: 3, gpu, force: true });
    bytes[bytes.length >> 1] ^= 4;
    await Deno.writeFile(path, bytes);
    const error = await assertRejects(
      async () => readDocumentScores(path, await vouchedFiles(run)),
      InputError,
    );
    assertStringIncludes(error.message, path);
  }));

Deno.test("evaluateRun() lets the experts choose as well, who are the best in hindsight once they see all of a sequence", () =>
  inRun(2, async (run) => {
    const { routedBy, ...rest } = await evaluateRun({ run, resamples: 20, gpu, routeBy: "self" });
    assertEquals(routedBy!.kind, "self");
    assertEquals(routedBy!.prefixes.map(({ prefix }) => prefix), [4, 8, 16, 32]);
    const last = routedBy!.prefixes.at(-1)!.perplexity;
    assert(Math.abs(last / rest.scores.oracle!.perplexity - 1) < 1e-4, `${last}`);
    const text = await Deno.readTextFile(`${run}/evaluation.json`);
    await evaluateRun({ run, resamples: 20, gpu, routeBy: "self" });
    assertEquals(await Deno.readTextFile(`${run}/evaluation.json`), text);
    const plain = await evaluateRun({ run, resamples: 20, gpu });
    assertEquals(plain, rest); // nothing else depends on it
    const shorter = await evaluateRun({ run, resamples: 20, gpu, routeLengths: [1, 2] });
    assertEquals(shorter.prefixes.map(({ prefix }) => prefix), [1, 2, 4, 8, 16, 32]);
    assertEquals({ ...shorter, prefixes: shorter.prefixes.slice(2) }, plain);
    const key = async () => (await readJson(`${run}/manifests/evaluate.json`)).key;
    const before = await key();
    await evaluateRun({ run, resamples: 20, gpu, routeLengths: [2, 1, 1, 8, 32] }); // asks for the same
    assertEquals(await key(), before);
    const longer = await assertRejects(
      () => evaluateRun({ run, resamples: 20, gpu, routeLengths: [1, 33] }),
      InputError,
    );
    assertMatch(
      await describe(longer),
      /--route-lengths must be at most the 32 tokens of a sequence: one is 33$/,
    );
    assertEquals(await key(), before); // what was evaluated stays
    const wrong = () => evaluateRun({ run, resamples: 20, gpu, routeBy: "source" });
    const error = await assertRejects(wrong, InputError);
    assertMatch(
      await describe(error),
      /--route-by must be a kind that only routes \(self\): it is "source"$/,
    );
  }));

Deno.test("evaluateRun() evaluates again only when something it depends on changed, to the same bytes", () =>
  inRun(2, async (run) => {
    const states: string[] = [];
    const onEvent = (event: RunEvent) => event.type === "stage" && states.push(event.state);
    const again = async (options = {}) => {
      states.length = 0;
      await evaluateRun({ run, resamples: 3, gpu, ...options }, { onEvent });
      return [states.join(", "), await Deno.readTextFile(`${run}/evaluation.json`)];
    };
    const [state, first] = await again();
    assertEquals(state, "started, done");
    assertEquals(await again(), ["up to date", first]);
    assertEquals(await again({ force: true }), ["started, done", first]);
    assertEquals((await again({ resamples: 4 }))[0], "started, done");
    const mixed = await again({ resamples: 4, mix: [1, 2], reroute: 4 });
    assertEquals(mixed[0], "started, done");
    assertEquals(await again({ resamples: 4, mix: [1, 2], reroute: 4 }), ["up to date", mixed[1]]);
    assertEquals((await again({ resamples: 4 }))[0], "started, done"); // nothing that was not asked for stays
    await saveModel(run, "dense-steps");
    const [dense, second] = await again({ resamples: 4 });
    assertEquals(dense, "started, done");
    assertEquals(JSON.parse(second).gains.map(({ baseline }: { baseline: string }) => baseline), [
      "dense-steps",
    ]);
    await saveCheckpoint(`${run}/experts/expert-01`, MODEL, anyWeights(MODEL, "another"));
    const [expert, third] = await again({ resamples: 4 });
    assertEquals(expert, "started, done");
    assertNotEquals(third, second);
    await Deno.remove(`${run}/evaluation.json`);
    assertEquals(await again({ resamples: 4 }), ["started, done", third]);
  }));

Deno.test("evaluateRun() that is ended leaves the former result, and no manifest that vouches for it", () =>
  inRun(2, async (run) => {
    await evaluateRun({ run, resamples: 3, gpu });
    const before = await Deno.readTextFile(`${run}/evaluation.json`);
    const ending = new AbortController();
    const onEvent = (event: RunEvent) => event.type === "progress" && ending.abort(new Error("enough"));
    const ended = evaluateRun({ run, resamples: 4, gpu }, { onEvent, signal: ending.signal });
    await assertRejects(() => ended, Error, "enough");
    assertEquals(await Deno.readTextFile(`${run}/evaluation.json`), before);
    await assertRejects(() => Deno.stat(`${run}/manifests/evaluate.json`), Deno.errors.NotFound);
    await assertRejects(() => Deno.stat(`${run}/locks`), Deno.errors.NotFound);
  }));

Deno.test("evaluateRun() refuses a run without a partition or experts, and names the task to run", () =>
  inRun(1, async (run) => {
    assertMatch(
      await refusal(run),
      /expert 1 is not; run deno task train-expert --run \S+ --expert 1 first, or evaluate those that are, with --trained$/,
    );
    await Deno.remove(`${run}/experts`, { recursive: true });
    assertMatch(
      await refusal(run),
      /experts 0, 1 are not; run deno task train-expert --run \S+ --expert all first$/,
    );
    await Deno.remove(`${run}/manifests/split.json`);
    assertMatch(
      await refusal(run),
      /must be partitioned: it is not; run deno task partition --run \S+ first$/,
    );
    assertMatch(await refusal(`${run}/nowhere`), /must be partitioned: it is not/);
    await assertRejects(() => Deno.stat(`${run}/nowhere`), Deno.errors.NotFound);
  }));

Deno.test("evaluateRun() takes no weights of a training that began anew and was stopped: they are those of the one before", () =>
  inRun(2, async (run) => {
    await saveModel(run, "dense");
    await evaluateRun({ run, resamples: 3, gpu });
    const stateOf = async () => (await statusOf(run)).stages.find(({ stage }) => stage === "evaluate")!.state;
    assertEquals(await stateOf(), "up to date");
    await Deno.writeTextFile(`${run}/metrics/dense.jsonl`, "");
    assertEquals(await stateOf(), "out of date");
    const warnings: string[] = [];
    const onEvent = (event: RunEvent) => event.type === "warning" && warnings.push(worded(event.message));
    const { gains } = await evaluateRun({ run, resamples: 3, gpu }, { onEvent });
    assertEquals(gains, []);
    const left =
      `dense is left out, as its training has begun anew and not ended, or came without its manifest: deno task train-dense --run ${run}`;
    assertEquals(warnings.filter((text) => text.startsWith(left)).length, 1, warnings.join());
    await Deno.mkdir(`${run}/experts/expert-01/checkpoints`);
    assertMatch(
      await refusal(run),
      /expert 1 is not; run deno task train-expert --run \S+ --expert 1 first, or/,
    );
    assertEquals((await evaluateRun({ run, resamples: 3, gpu, trained: true })).trained, [0]);
    await assertRejects(
      () => exportModel({ run, expert: 1, output: `${run}-model` }),
      InputError,
      "Cannot export expert 1 as it must be trained: its training has begun anew and not ended",
    );
  }));

Deno.test("evaluateRun() refuses models of another shape, tokenizer or part, with both values", () =>
  inRun(2, async (run) => {
    await saveModel(run, "experts/expert-01", {}, { ...MODEL, layers: 2 });
    assertMatch(
      await refusal(run),
      /expert 1 as it must have the shape of expert 0: layers is 2, that of expert 0 is 1; train it again$/,
    );
    await saveModel(run, "experts/expert-01", { tokenizer: "ab12" });
    assertMatch(
      await refusal(run),
      /expert 1 as it must have the tokenizer of the run: it is ab12, that of the run is [0-9a-f]{12}…; copy .* train it again$/,
    );
    await saveModel(run, "experts/expert-01", { partition: "cd34" });
    assertMatch(
      await refusal(run),
      /expert 1 must .* on the shards that are there now: SHA-256 is cd34, not [0-9a-f]{12}…; run deno task train-expert --run \S+ --expert 1 again$/,
    );
    await saveModel(run, "experts/expert-01");
    const rest = { key: "", configuration: {}, outputs: {}, result: {} };
    const manifest = (stage: string) => JSON.stringify({ ...rest, stage, inputs: { shards: "ef56" } });
    await Deno.writeTextFile(`${run}/manifests/train-expert-01.json`, manifest("train-expert-01"));
    assertStringIncludes(await refusal(run), "SHA-256 is ef56, not ");
    await Deno.remove(`${run}/manifests/train-expert-01.json`);
    await saveModel(run, "dense-steps", {}, { ...MODEL, hidden: 12 });
    assertMatch(
      await refusal(run),
      /dense-steps as it must have the shape of expert 0: hidden is 12, that of expert 0 is 8; train it again$/,
    );
    await saveModel(run, "dense-steps");
    await Deno.writeTextFile(`${run}/manifests/train-dense-steps.json`, manifest("train-dense-steps"));
    assertMatch(
      await refusal(run),
      /dense-steps must .* SHA-256 is ef56, .*; run deno task train-dense --run \S+ --match steps again$/,
    );
  }));

Deno.test("evaluateRun() refuses truncated weights, other routers and other numbers of them", () =>
  inRun(2, async (run) => {
    const path = `${run}/experts/expert-01/model.safetensors`;
    const whole = await Deno.readFile(path);
    await Deno.writeFile(path, whole.subarray(0, whole.length - 5));
    assertStringIncludes(await refusal(run), "it must be a whole safetensors file");
    await Deno.writeFile(path, whole);
    const router = await loadCheckpoint(`${run}/partitioner/router-01`);
    await saveCheckpoint(
      `${run}/partitioner/router-01`,
      router.config,
      anyWeights(router.config, "other"),
      router.notes,
    );
    assertMatch(
      await refusal(run),
      /must be those that scored the run: SHA-256 is [0-9a-f]{12}…, not [0-9a-f]{12}…; copy .* deno task train-routers --run \S+ --force$/,
    );
    await Deno.remove(`${run}/partitioner/router-01`, { recursive: true });
    assertMatch(
      await refusal(run),
      /as it must hold the 2 routers that its partitioner.json speaks of: it holds 1; /,
    );
  }));

Deno.test("evaluateRun() waits for no one: a run in which another process makes what it reads is refused", () =>
  inRun(2, async (run) => {
    for (const name of ["split", "train-expert-01"]) {
      const release = await lockRun(run, name, "other");
      assertStringIncludes(await refusal(run, RunError), `Cannot read "${name}"`);
      await release();
    }
  }));

Deno.test("deno task evaluate mixes experts, tells what margins say, and falls back, in words and in JSON", () =>
  inRun(2, async (run) => {
    await saveModel(run, "dense");
    const flags = ["--run", run, "--resamples", "10", "--mix", "1,2", "--reroute", "8"];
    const { code, out, err } = await task("evaluate", [...flags, "--fallback", "dense", "--margin", "0.5"]);
    assertEquals(code, 0, err);
    const { scores, reliability, mixing, fallback } = await readJson(`${run}/evaluation.json`);
    const told = scores.mixture.perplexity.toFixed(2).replace(".", "\\.");
    assertMatch(out, /^margin +sequences +best in hindsight +loss where not$/m);
    assertMatch(out, new RegExp(`^all +${reliability.sequences} +\\d+\\.\\d% `, "m"));
    assertMatch(out, new RegExp(`^1 +${told} +\\S+ to \\S+ +1\\.00 +1\\.0 +equal$`, "m"));
    assertMatch(out, /^2 +\d+\.\d\d +\S+ to \S+ +2\.00 +1\.0 +\d+\.\d% (lower|higher) \(/m);
    assertMatch(out, /^2, weighed anew every 8 tokens +\d+\.\d\d .* 2\.00 +[23]\.\d /m);
    assertMatch(out, /^weights: costs over a routing temperature of 1$/m);
    assertMatch(out, new RegExp(`^below \\S+ +0\\.0% +${told} `, "m"));
    assertMatch(out, /^all +100\.0% +/m);
    assertMatch(out, /^below 0\.500 \(as asked\) +\d+\.\d% +/m);
    assertEquals([mixing.temperature, mixing.mixes.length, fallback.chosen.margin], [1, 4, 0.5]);
    assertEquals(mixing.mixes[0].perplexity, scores.mixture.perplexity);
    const json = await task("evaluate", [...flags, "--routing-temperature", "0.3", "--json"]);
    assertEquals(JSON.parse(json.out).mixing.temperature, 0.3);
    const before = await readJson(`${run}/manifests/evaluate.json`);
    const refused: [string[], RegExp][] = [
      [["--mix", "3"], /--mix must be from 1 to the number of experts, 2: it is 3$/],
      [["--mix", "0"], /--mix as it must be integers from 1 to 65535, separated by commas: it is \[0\]$/],
      [["--mix", "NaN"], /--mix as it must be integers from 1 to 65535, .*: it is \["NaN"\]$/],
      [
        ["--mix", "2", "--routing-temperature", "0"],
        /--routing-temperature as it must be a number from .*: it is 0$/,
      ],
      [["--mix", "2", "--routing-temperature", "NaN"], /--routing-temperature as .*: it is "NaN"$/],
      [
        ["--routing-temperature", "2"],
        /belongs to experts that answer together: .*; say how many with --mix$/,
      ],
      [["--reroute", "0"], /--reroute as it must be an integer from 1 to \d+: it is 0$/],
      [["--margin", "1"], /--margin belongs to a dense model .*; name it with --fallback$/],
      [["--margin", "NaN"], /--margin as it must be a number of at least 0: it is "NaN"$/],
      [
        ["--fallback", "expert"],
        /--fallback as it must be one of dense, dense-steps, dense-compute, switch: it is "expert"$/,
      ],
      [
        ["--fallback", "dense-steps"],
        /must name a dense model that is trained: dense-steps is not; run deno task train-dense --match steps --run \S+ first$/,
      ],
    ];
    for (const [wrong, message] of refused) {
      const { code, out, err } = await task("evaluate", ["--run", run, ...wrong]);
      assertEquals([code, out], [2, ""], err);
      assertMatch(err.trimEnd().split("\n").at(-1)!, message);
    }
    assertEquals(await readJson(`${run}/manifests/evaluate.json`), before); // what is there stays vouched for
  }));

Deno.test("deno task evaluate prints tables, or JSON, and one line where it cannot", () =>
  inRun(2, async (run) => {
    const without = await task("evaluate", ["--run", run, "--resamples", "10"]);
    assertEquals(without.code, 0, without.err);
    assertMatch(without.out, /^mixture, routed by 16 tokens +\d+\.\d\d +\d+\.\d\d to \d+\.\d\d +\d\.\d{4}$/m);
    assertMatch(without.out, /^no gains, as no dense model is trained: run deno task train-dense --run /m);
    await saveModel(run, "dense");
    const full = await task("evaluate", ["--run", run, "--resamples", "10"]);
    assertMatch(
      full.out,
      /^perplexity (lower|higher) than that of dense, 2 times the batch, by \d+\.\d% \(-?\d+\.\d% to -?\d+\.\d%\)$/m,
    );
    assertMatch(full.out, /^sea +\d+ .* \d+%/m);
    assertMatch(full.out, /^16 \(M\) .* 100\.0%$/m);
    const json = await task("evaluate", ["--run", run, "--resamples", "10", "--json"]);
    assertEquals(JSON.parse(json.out), { run, ...await readJson(`${run}/evaluation.json`), routes: true });
    assertStringIncludes(json.err, "up to date");
    const wrong = await task("evaluate", ["--run", run, "--resamples", "0"]);
    assertEquals([wrong.code, wrong.out], [2, ""]);
    assertMatch(
      wrong.err,
      /^error: Cannot use --resamples as it must be an integer from 1 to 1000000: it is 0\n$/,
    );
    const missing = await task("evaluate", ["--run", `${run}/nowhere`]);
    assertEquals([missing.code, missing.out], [2, ""]);
    assertMatch(missing.err, /^error: [^\n]*run deno task partition --run [^\n]*\n$/);
  }));

Deno.test("evaluateModels() refuses the choices of an evaluation, which no part goes by", async () => {
  const choices = [
    ...[{ mix: [2] }, { fallback: "dense" }, { reroute: 8 }, { routingTemperature: 2 }, { margin: 0 }],
    ...[{ routeLengths: [2] }, { routeBy: "self" }, { trained: true }, { resamples: 1000 }],
  ] as const;
  for (const choice of choices) {
    const [name] = Object.keys(choice);
    await assertRejects(
      () => evaluateModels({ index: 1, of: 2 }, { run: "nowhere", ...choice }),
      InputError,
      `Cannot use ${name} with part as it must go with the evaluation of all models`,
    );
  }
});

Deno.test("evaluateModels() in any parts, also before all experts are trained, gives the bytes of one process", async () => {
  const result = async (parts: [index: number, of: number][], early: boolean) => {
    let found: Record<string, string> = {};
    await inRun(early ? 1 : 2, async (run) => {
      const options = { run, gpu };
      const part = (index: number, of: number) => evaluateModels({ index, of }, options);
      if (early) {
        assertEquals(await part(1, 4), { own: ["expert-00"], evaluated: 1, models: 1, closed: false });
        const partition = partHash(await readJson(`${run}/partition/expert-01/manifest.json`));
        await saveModel(run, "experts/expert-01", { partition });
        const release = await lockRun(run, "train-expert-01", "other");
        await part(1, 4); // another expert's training is in nobody's way
        await assertRejects(() => part(2, 4), RunError, 'Cannot read "train-expert-01"');
        await release();
      }
      await saveModel(run, "dense");
      for (const [index, of] of parts) await part(index, of);
      if (early) await Deno.writeTextFile(`${run}/evaluation/expert-01.f32.partial`, "half"); // of one that was killed
      await evaluateRun({ ...options, resamples: 5 });
      found = await hashes(run);
    });
    return found;
  };
  const expected = await result([], false);
  assertEquals(await result([[3, 4], [2, 4], [1, 4]], true), expected);
  assertEquals(await result([[2, 2], [2, 2]], false), expected);
  assertEquals(await result([[1, 1]], false), expected);
});
