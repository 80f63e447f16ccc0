import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { encodeQuestions } from "../../../pipeline/evaluation/choices/questions.ts";
import { askQuestions } from "../../../pipeline/evaluation/choices/score.ts";
import { TASKS } from "../../../pipeline/evaluation/choices/tasks.ts";
import { makeAll, readManifest, Walk, writeManifest } from "../../../pipeline/graph/mod.ts";
import { partitionGraph } from "../../../pipeline/run/plan.ts";
import { denseTarget, expertTarget } from "../../../pipeline/stages/targets.ts";
import { trainNodes } from "../../../pipeline/stages/train.ts";
import { verifyRun } from "../../../pipeline/run/verify.ts";
import { askRun, type ZeroShotRunOptions } from "../../../pipeline/run/zero_shot.ts";
import { writeRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import { openMixture } from "../../../pipeline/serving/mixture.ts";
import { CORPORA, embeddedCorpus } from "../../../pipeline/text/corpora/corpus.ts";
import { loadTokenizer } from "../../../pipeline/text/tokenizer.ts";
import { copyFolder, inFolder, lastingFolder } from "../../tasks/support.ts";
import { smallSettings, smallWork } from "./support.ts";

const DOCS = [
  { goal: "wave", sol1: "gull", sol2: "storm", label: 0 },
  { goal: "sail north", sol1: "mast", sol2: "salt", label: 1 },
  { goal: "rope", sol1: "deck crew", sol2: "tide", label: 1 },
];
const piqa = TASKS.get("piqa")!;

/**
 * Makes a run of two experts and a dense model, of text that is split at every 2,000 characters.
 */
async function makeRun(folder: string): Promise<void> {
  const work = smallWork(`${folder}/run`);
  await Deno.mkdir(`${folder}/text`);
  let lines = "";
  for await (const { text, source } of embeddedCorpus("default", 30_000)) {
    for (let at = 0; at < text.length; at += 2000) {
      lines += JSON.stringify({ text: text.slice(at, at + 2000), source }) + "\n";
    }
  }
  await Deno.writeTextFile(`${folder}/text/corpus.jsonl`, lines);
  const configuration = smallSettings(`${folder}/text`, {
    vocabularySize: 500,
    sequenceLength: 128,
    holdout: 0.3,
    blockBytes: 50_000,
    sourceField: "source",
    expertHidden: 8,
    expertLayers: 1,
    expertHeads: 2,
    expertBatch: 2,
    expertSteps: 2,
    expertWarmup: 1,
    rounds: 1,
    roundSequences: 8,
  });
  const { nodes } = await partitionGraph(work.run, configuration);
  const tokens = nodes.filter(({ name }) => name.startsWith("tokens/")).map(({ name }) => name);
  const models = [
    expertTarget(0, { experts: 2 }),
    expertTarget(1, { experts: 2 }),
    denseTarget("batch"),
  ];
  const graph = [...nodes, ...await trainNodes(configuration, models, tokens)];
  await makeAll(work, new Walk(work.run, graph), { task: "test" });
  await writeRunConfiguration(work.run, configuration);
}

let made: Promise<string> | undefined; // once for all tests

/**
 * Runs a test with a run, a folder of data, and a function that asks and tells what happened to the
 * stage.
 */
function inRun(
  body: (
    run: string,
    ask: (options?: Partial<ZeroShotRunOptions>) => Promise<{
      results: Awaited<ReturnType<typeof askRun>>;
      states: string[];
      warnings: string[];
    }>,
    data: string,
  ) => Promise<void>,
): Promise<void> {
  return inFolder(async (folder) => {
    const gpu = await smallWork(folder).gpu();
    const whole = await (made ??= (async () => {
      const folder = await lastingFolder();
      await makeRun(folder);
      return `${folder}/run`;
    })());
    const [run, data] = [`${folder}/run`, `${folder}/data`];
    copyFolder(whole, run);
    await Deno.mkdir(data);
    await Deno.writeTextFile(
      `${data}/piqa.jsonl`,
      DOCS.map((doc) => JSON.stringify(doc) + "\n").join(""),
    );
    await body(run, async (options = {}) => {
      const states: string[] = [];
      const warnings: string[] = [];
      const results = await askRun({ run, data, gpu, resamples: 10, ...options }, {
        onEvent: (event) => {
          if (event.type === "stage") states.push(event.state);
          if (event.type === "warning") warnings.push(wordText(event.message));
        },
      });
      return { results, states, warnings };
    }, data);
  });
}

Deno.test("a run answers as askQuestions() reports of its models, and keeps that in a file of the task", () =>
  inRun(async (run, ask) => {
    for (const folder of ["tokens", "text", "scores", "assignments", "partition", "rounds"]) {
      await Deno.remove(`${run}/${folder}`, { recursive: true }); // it is not needed
    }
    const { results: [actual], states } = await ask();
    assertEquals(states, ["started", "done"]);
    assertEquals(JSON.parse(await Deno.readTextFile(`${run}/zero-shot/piqa.json`)), actual);
    const questions = DOCS.map(piqa.ask);
    const tokenizer = await loadTokenizer(`${run}/tokenizer.json`);
    const mixture = await openMixture({ run });
    const expected = await askQuestions({
      mixture,
      task: piqa,
      questions,
      prefix: 16,
      resamples: 10,
      baselines: ["dense"],
      prompts: await encodeQuestions(tokenizer, questions, 128),
    });
    mixture.close();
    assertEquals(actual, expected);
    assertEquals(Object.keys(actual.ways).sort(), ["dense", "mixture", "oracle", "random"]);
  }));

Deno.test("a task is asked again only when questions, options or models changed, to the same bytes", () =>
  inRun(async (run, ask, data) => {
    const states = async (options?: Partial<ZeroShotRunOptions>) => (await ask(options)).states;
    const read = () => Deno.readTextFile(`${run}/zero-shot/piqa.json`);
    const [again, not] = [["started", "done"], ["up to date"]];
    assertEquals([await states(), await states()], [again, not]);
    const first = await read();
    assertEquals(await states({ force: true }), again);
    assertEquals(await read(), first);
    const changes: Partial<ZeroShotRunOptions>[] = [
      ...[{ limit: 2 }, { routing: "choice" as const }, { resamples: 11 }],
      ...[{ mix: [2] }, { mix: [2], routingTemperature: 3 }],
    ];
    for (const change of changes) {
      assertEquals([await states(change), await states(change)], [again, not]);
      assert(await read() !== first);
    }
    assertEquals(await states(), again);
    const lines = DOCS.toReversed().map((doc) => JSON.stringify(doc));
    await Deno.writeTextFile(`${data}/piqa.jsonl`, lines.join("\n"));
    assertEquals(await states(), again);
    await Deno.remove(`${run}/dense`, { recursive: true });
    assertEquals(await states(), again);
    assert(!(await read()).includes('"dense"'));
  }));

Deno.test("as many experts answer together as are asked for, and no more than there are", () =>
  inRun(async (run, ask, data) => {
    await Deno.writeTextFile(
      `${data}/lambada_openai.jsonl`,
      JSON.stringify({ text: "sail north" }) + "\n",
    );
    const { results } = await ask({ mix: [2] });
    const of = (name: string) => results.find(({ task }) => task === name)!;
    const [choices, lambada] = [of("piqa"), of("lambada_openai")];
    assertEquals(Object.keys(choices.ways).sort(), [
      "dense",
      "mixture",
      "oracle",
      "random",
      "top-2",
    ]);
    assertEquals([choices.mixing!.temperature, lambada.mixing!.temperature], [1, 1]);
    assertEquals(Object.keys(lambada.ways["top-2"]!), ["acc", "perplexity"]);
    const { results: [cold] } = await ask({ tasks: ["piqa"], mix: [2], routingTemperature: 1e-6 });
    assertEquals(cold.ways["top-2"], choices.ways.mixture); // the weight of one alone
    const before = await Deno.readTextFile(`${run}/zero-shot/piqa.json`);
    const rule = "mix must be from 1 to the number of experts, 2: it is 3";
    await assertRejects(() => ask({ mix: [3] }), InputError, rule);
    await assertRejects(() => ask({ routingTemperature: 2 }), InputError, "say how many with mix");
    assertEquals(await Deno.readTextFile(`${run}/zero-shot/piqa.json`), before);
  }));

Deno.test("questions are made of held-out text where there are no data; what cannot be asked is refused", () =>
  inRun(async (run, ask) => {
    const { results } = await ask({ data: undefined });
    assertEquals(results.map(({ task }) => task), ["last_word", "shuffled_words", "next_sentence"]);
    for (const { task, questions, chance, sets, ways } of results) {
      assert(questions >= 10 && chance === 0.25, `${task}: ${questions}`);
      assert(sets.length > 1 && sets.every(({ set }) => CORPORA.default.sources.includes(set)));
      assert(ways.mixture!.acc!.low <= ways.mixture!.acc!.high);
    }
    await assertRejects(() => ask({ tasks: ["pica"] }), InputError, "must name one of");
    await assertRejects(() => ask({ tasks: ["sciq"] }), InputError, "its questions must be in");
    const nowhere = { tasks: ["sciq"], data: undefined };
    await assertRejects(() => ask(nowhere), InputError, "data must name the folder");
    await assertRejects(() => ask({ data: run }), InputError, "it holds none");
    const remedies = async () =>
      (await verifyRun(run)).problems.map(({ file, remedy }) => [file, wordText(remedy)]);
    assertEquals(await remedies(), []);
    const files = ["experts/expert-01/model.safetensors", "zero-shot/last_word/last_word.json"];
    for (const path of files.map((file) => `${run}/${file}`)) {
      const bytes = await Deno.readFile(path);
      await Deno.writeFile(path, bytes.with(bytes.length - 9, bytes[bytes.length - 9] ^ 1));
    }
    const wanted = ['task "train-expert" with run', 'task "zero-shot" with run'];
    for (const [i, [file, remedy]] of (await remedies()).entries()) {
      assertEquals(file, files[i]);
      assert(remedy.startsWith(`run ${wanted[i]}`), remedy);
    }
    await assertRejects(() => ask(), InputError, "model.safetensors");
    await Deno.remove(`${run}/experts/expert-01`, { recursive: true });
    await assertRejects(() => ask(), InputError, "every expert must be trained: expert 1 is not");
    await assertRejects(() => ask({ run: `${run}/tokens` }), InputError, "there is no config.json");
  }));

Deno.test("what the held-out text says nothing to ask of is passed over, unless it is named or nothing else is left", () =>
  inRun(async (run) => {
    const list = (await readManifest(`${run}/text/sequences`))!;
    await writeManifest(`${run}/text/sequences`, { ...list, settings: { blocks: [] } });
    const warnings: string[] = [];
    const ask = (options: Partial<ZeroShotRunOptions> = {}) =>
      askRun({ run, ...options }, {
        onEvent: (event) => event.type === "warning" && warnings.push(wordText(event.message)),
      });
    const reason = "as questions must be made of the held-out text of";
    await assertRejects(() => ask(), InputError, `Cannot ask next_sentence ${reason}`);
    assertEquals(warnings.map((text) => text.split(" as ")[0]), [
      "Cannot ask last_word",
      "Cannot ask shuffled_words",
    ]);
    await assertRejects(
      () => ask({ tasks: ["last_word"] }),
      InputError,
      `Cannot ask last_word ${reason}`,
    );
  }));
