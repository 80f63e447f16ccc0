import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError, RunError, wordText } from "../../../kernels/errors.ts";
import { encodeQuestions } from "../../../pipeline/evaluation/choices/prompts.ts";
import { askQuestions } from "../../../pipeline/evaluation/choices/score.ts";
import { contextOf, TASKS } from "../../../pipeline/evaluation/choices/tasks.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { lockRun } from "../../../pipeline/run/lock.ts";
import { readManifest } from "../../../pipeline/run/manifest.ts";
import { openMixture } from "../../../pipeline/serving/mixture.ts";
import { partition } from "../../../pipeline/stages/partition.ts";
import { statusOf } from "../../../pipeline/stages/status.ts";
import { verifyRun } from "../../../pipeline/stages/verify.ts";
import { askRun, type ZeroShotRunOptions } from "../../../pipeline/stages/zero_shot_run.ts";
import { loadCheckpoint, saveCheckpoint } from "../../../pipeline/checkpoints/checkpoint.ts";
import { loadTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { CORPUS_SOURCES, defaultCorpus } from "../../../pipeline/text/corpora/corpus.ts";
import { gpu } from "../../kernels/support.ts";
import { copyFolder, inFolder, ROOT } from "../../tasks/support.ts";
import { anyWeights } from "../model/support.ts";
import { SMALL_SETTINGS } from "./support.ts";

const MADE = `${ROOT}fixtures/runs/format-1`; // two experts and a dense model, of a context of 32 tokens
const DOCS = [
  { goal: "wave", sol1: "gull", sol2: "storm", label: 0 },
  { goal: "sail north", sol1: "mast", sol2: "salt", label: 1 },
  { goal: "rope", sol1: "deck crew", sol2: "tide", label: 1 },
];

/** Runs a test with a run, those of its files that are named, and a folder of data. */
function withRun(
  test: (run: string, data: string) => Promise<void>,
  files = [...Deno.readDirSync(MADE)].map(({ name }) => name),
): Promise<void> {
  return inFolder(async (folder) => {
    const [run, data] = [`${folder}/run`, `${folder}/data`];
    await Deno.mkdir(run);
    await Deno.mkdir(data);
    for (const name of files) {
      const path = `${MADE}/${name}`;
      await ((await Deno.stat(path)).isDirectory ? copyFolder : Deno.copyFile)(path, `${run}/${name}`);
    }
    await writeDocs(data);
    await test(run, data);
  });
}

async function writeDocs(data: string, docs: unknown[] = DOCS): Promise<void> {
  await Deno.writeTextFile(`${data}/piqa.jsonl`, docs.map((doc) => `${JSON.stringify(doc)}\n`).join(""));
}

/** Asks, and gives what was told of the stage besides. */
async function ask(options: ZeroShotRunOptions) {
  const told: string[] = [];
  const onEvent = (event: RunEvent) => {
    if (event.type === "stage") told.push(`${event.stage} ${event.state}`);
  };
  const results = await askRun({ resamples: 10, gpu, ...options }, { onEvent });
  return { results, told };
}

const piqa = TASKS.get("piqa")!;

Deno.test("askRun() gives what askQuestions() says of a run's experts and dense models, and keeps it in a file of the task", () =>
  withRun(async (run, data) => {
    const { results: [actual] } = await ask({ run, data });
    assertEquals(JSON.parse(await Deno.readTextFile(`${run}/zero-shot/piqa.json`)), actual);
    assertEquals([...Deno.readDirSync(`${run}/zero-shot`)].map(({ name }) => name), ["piqa.json"]);
    const questions = DOCS.map(piqa.ask);
    const tokenizer = await loadTokenizer(`${run}/tokenizer.json`);
    const mixture = await openMixture({ run, gpu });
    const expected = await askQuestions({
      ...{ mixture, task: piqa, questions, prefix: 16, resamples: 10, baselines: ["dense"] },
      prompts: await encodeQuestions(tokenizer, questions, questions.map((one) => contextOf(one)), 32),
    });
    mixture.close();
    assertEquals(actual, expected);
    assertEquals(Object.keys(actual.ways).sort(), ["dense", "mixture", "oracle", "random"]);
    assertEquals((await verifyRun(run)).problems, []);
    const { stages } = await statusOf(run);
    const stage = stages.find((one) => one.stage === "zero-shot-piqa")!;
    assertEquals([stage.state, stage.command.with.task], ["up to date", "piqa"]);
  }));

Deno.test("askRun() asks again only when questions, options or models changed, to the same bytes", () =>
  withRun(async (run, data) => {
    const made = () => Deno.readTextFile(`${run}/zero-shot/piqa.json`);
    const again = async (options: Partial<ZeroShotRunOptions> = {}) =>
      (await ask({ run, data, ...options })).told;
    const [started, upToDate] = [["zero-shot-piqa started", "zero-shot-piqa done"], [
      "zero-shot-piqa up to date",
    ]];
    assertEquals(await again(), started);
    const first = await made();
    assertEquals(await again(), upToDate);
    assertEquals(await again({ force: true }), started);
    assertEquals(await made(), first);
    const changes: Partial<ZeroShotRunOptions>[] = [
      ...[{ limit: 2 }, { fewShot: 1 }, { routing: "choice" as const }, { resamples: 11 }],
      ...[{ mix: [2] }, { mix: [2], routingTemperature: 3 }],
    ];
    for (const change of changes) {
      assertEquals([await again(change), await again(change)], [started, upToDate]);
      assertNotEquals(await made(), first);
    }
    assertEquals(await again(), started);
    await writeDocs(data, DOCS.toReversed());
    assertEquals(await again(), started);
    const { config, notes } = await loadCheckpoint(`${run}/dense`);
    await saveCheckpoint(`${run}/dense-steps`, config, anyWeights(config, "other"), notes);
    assertEquals([await again(), await again()], [started, upToDate]);
    assert((await made()).includes('"dense-steps"'));
    const { read } = (await readManifest(run, "zero-shot-piqa"))!;
    assert(Object.keys(read!).includes("experts/expert-01/model.safetensors"), Object.keys(read!).join());
  }));

Deno.test("askRun() mixes as many experts as are asked for, by the partitioner's temperature unless said, and refuses more than there are", () =>
  withRun(async (run, data) => {
    const text = { text: "sail north" };
    await Deno.writeTextFile(`${data}/lambada_openai.jsonl`, `${JSON.stringify(text)}\n`);
    const { results } = await ask({ run, data, mix: [2] });
    for (const { ways, mixing } of results) {
      assertEquals(Object.keys(ways).sort(), ["dense", "mixture", "oracle", "random", "top-2"]);
      assertEquals(mixing!.temperature, 1);
    }
    const [piqa, lambada] = ["piqa", "lambada_openai"].map((name) =>
      results.find(({ task }) => task === name)!
    );
    assertEquals(Object.keys(lambada.ways["top-2"]!), ["acc", "perplexity"]);
    const { results: [cold] } = await ask({ run, data, tasks: ["piqa"], mix: [2], routingTemperature: 1e-6 });
    assertEquals(cold.ways["top-2"], piqa.ways.mixture); // the weight of one alone
    const before = await Deno.readTextFile(`${run}/zero-shot/piqa.json`);
    const rule = "mix must be from 1 to the number of experts, 2: it is 3";
    await assertRejects(() => ask({ run, data, mix: [3] }), InputError, rule);
    await assertRejects(() => ask({ run, data, routingTemperature: 2 }), InputError, "say how many with mix");
    assertEquals(await Deno.readTextFile(`${run}/zero-shot/piqa.json`), before);
  }));

Deno.test("askRun() needs of a run its configuration, tokenizer, routers and experts alone", () =>
  withRun(async (run, data) => {
    const { results: [result] } = await ask({ run, data, limit: 2 });
    assertEquals([result.questions, result.published], [2, 3]);
    assertEquals(Object.keys(result.ways).sort(), ["mixture", "oracle", "random"]);
  }, ["config.json", "tokenizer.json", "routers", "experts"]));

Deno.test("askRun() asks questions of the run's length, also where its first expert was adopted and reads longer ones", () =>
  withRun(async (run, data) => {
    const folder = `${run}/experts/expert-00`;
    const { config, notes } = await loadCheckpoint(folder);
    const large = { ...config, hidden: 24, heads: 3, context: 64, vocabulary: config.vocabulary + 8 };
    await saveCheckpoint(folder, large, anyWeights(large, "adopted"), { ...notes, adopted: "elsewhere" });
    await writeDocs(data, [...DOCS, { goal: "sail ".repeat(30), sol1: "mast", sol2: "salt", label: 0 }]);
    const { results: [result] } = await ask({ run, data });
    assertEquals([result.questions, result.cut], [4, 1]);
    assertEquals(Object.keys(result.ways).sort(), ["mixture", "oracle", "random"]);
  }, ["config.json", "tokenizer.json", "routers", "experts"]));

Deno.test("askRun() works beside others that ask other tasks, and is refused beside one that asks the same", () =>
  withRun(async (run, data) => {
    const doc = { question: "sail", support: "wave", distractor1: "a", distractor2: "b", distractor3: "c" };
    await Deno.writeTextFile(`${data}/sciq.jsonl`, JSON.stringify({ ...doc, correct_answer: "gull" }));
    const both = await Promise.all(["piqa", "sciq"].map((task) => ask({ run, data, tasks: [task] })));
    assertEquals(both.map(({ results }) => results.map(({ task }) => task)), [["piqa"], ["sciq"]]);
    const all = await ask({ run, data });
    assertEquals(all.told, ["sciq", "piqa"].map((task) => `zero-shot-${task} up to date`));
    const release = await lockRun(run, "zero-shot-piqa", "someone");
    await assertRejects(
      () => ask({ run, data, force: true, tasks: ["piqa"] }),
      RunError,
      'for task "someone"',
    );
    await release();
  }));

Deno.test("askRun() asks questions made of held-out text where it has no data", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const pieces = () =>
      ReadableStream.from(async function* () {
        for await (const { text, source } of defaultCorpus({ characters: 30_000 })) {
          for (let at = 0; at < text.length; at += 2000) yield { source, text: text.slice(at, at + 2000) };
        }
      }());
    const flags = { ...SMALL_SETTINGS, vocabularySize: 500, holdout: 0.3, sequenceLength: 128 };
    await partition({ run, documents: pieces(), sources: { flags } });
    const config = { vocabulary: 500, hidden: 8, layers: 1, heads: 2, context: 128 };
    for (const expert of [0, 1]) {
      await saveCheckpoint(`${run}/experts/expert-0${expert}`, config, anyWeights(config, expert), {
        eos: 0,
      });
    }
    const { results, told } = await ask({ run });
    assertEquals(results.map(({ task }) => task), ["last_word", "shuffled_words", "next_sentence"]);
    assertEquals(told.length, 6);
    for (const { task, questions, chance, sets, ways } of results) {
      assert(questions >= 20 && chance === 0.25, `${task}: ${questions}`);
      assert(sets.length > 1 && sets.every(({ set }) => CORPUS_SOURCES.includes(set)));
      assert(ways.mixture!.acc!.value >= 0 && ways.mixture!.acc!.low <= ways.mixture!.acc!.high);
    }
    const tokens = (await readManifest(run, "zero-shot-last_word"))!.inputs.tokens;
    assert(tokens.length === 64);
  }));

Deno.test("askRun() passes over what the held-out text says nothing to ask of, unless that is named or nothing else is left", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    // Every passage holds all words, so that none is wrong after it; what follows can be asked.
    const words = "sail wave gull storm tide mast deck rope".split(" ");
    const sentence = (i: number) => words.map((_, j) => words[(i + j * (1 + i % 3)) % 8]).join(" ") + ".";
    const texts = Array.from({ length: 40 }, (_, i) => ({
      source: "",
      text: Array.from({ length: 12 }, (_, j) => sentence(i * j + j)).join(" "),
    }));
    const flags = { ...SMALL_SETTINGS, vocabularySize: 270, holdout: 0.4, sequenceLength: 128 };
    await partition({ run, documents: ReadableStream.from(texts), sources: { flags } });
    const config = { vocabulary: 270, hidden: 8, layers: 1, heads: 2, context: 128 };
    for (const expert of [0, 1]) {
      await saveCheckpoint(`${run}/experts/expert-0${expert}`, config, anyWeights(config, expert), {
        eos: 0,
      });
    }
    const warnings: string[] = [];
    const results = await askRun({ run, resamples: 10, gpu }, {
      onEvent: (event) => event.type === "warning" && warnings.push(wordText(event.message)),
    });
    assertEquals(results.map(({ task }) => task), ["shuffled_words", "next_sentence"]);
    const reason = "as questions must be made of the held-out text of";
    assertEquals(warnings.filter((text) => text.includes(`Cannot ask last_word ${reason}`)).length, 1);
    await assertRejects(() => ask({ run, tasks: ["last_word"] }), InputError, reason);
    await withRun(async (run) => {
      await assertRejects(() => ask({ run }), InputError, `Cannot ask next_sentence ${reason}`);
    });
  }));
