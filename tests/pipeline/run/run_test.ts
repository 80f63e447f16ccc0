import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError, RunError } from "../../../kernels/errors.ts";
import { takeLock } from "../../../pipeline/graph/mod.ts";
import type { RunEvent } from "../../../pipeline/graph/events.ts";
import { evaluateRun } from "../../../pipeline/run/evaluate_run.ts";
import { trainModels } from "../../../pipeline/run/models.ts";
import { partition } from "../../../pipeline/run/partition.ts";
import {
  makePartition,
  openRun,
  planRun,
  type RunOptions,
  type RunWatch,
} from "../../../pipeline/run/run.ts";
import { allTargets } from "../../../pipeline/stages/targets.ts";
import { readDocumentRows } from "../../../pipeline/stages/token_rows.ts";
import {
  readRunConfiguration,
  writeRunConfiguration,
} from "../../../pipeline/graph/configuration.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { eventLine } from "../../../tasks/cli/progress.ts";
import { inFolder, readManifests } from "../../tasks/support.ts";
import { shareDevice } from "../../device.ts";
import { smallFlags, smallSettings, smallWork, writeTexts } from "./support.ts";

/** Runs a test with a folder of text and options for a run of it. */
function inRun(
  body: (folder: string, options: (flags?: Partial<Configuration>) => RunOptions) => Promise<void>,
): Promise<void> {
  return inFolder(async (folder) => {
    await writeTexts(`${folder}/text`, 12);
    const flags = smallFlags(`${folder}/text`);
    const run = { run: `${folder}/run`, gpu: await smallWork(folder).gpu(), workers: 1 };
    await body(folder, (more = {}) => ({ ...run, sources: { flags: { ...flags, ...more } } }));
  });
}

/** Lists the stages of which something is made. */
async function stagesMade(options: RunOptions): Promise<string[]> {
  const { stages } = await makePartition(options);
  return stages.flatMap(({ stage, state }) => state === "done" ? [stage] : []);
}

const stagesPlanned = async (options: RunOptions) =>
  (await planRun(options)).stages.filter(({ toMake }) => toMake > 0).map(({ stage }) => stage);

const ALL = ["tokenizer", "tokenize", "train-routers", "score", "assign", "split"];

Deno.test("a plan and what is made agree: on a new run, a made one, after a file came, changed and went, and by force", () =>
  inRun(async (folder, options) => {
    const agree = async (more: Partial<RunOptions> = {}, flags: Partial<Configuration> = {}) => {
      const planned = await stagesPlanned({ ...options(flags), ...more });
      assertEquals(await stagesMade({ ...options(flags), ...more }), planned);
      return planned;
    };
    assertEquals(await agree(), ALL);
    assertEquals(await agree(), []);
    await Deno.writeTextFile(`${folder}/text/99.txt`, "a judge and a jury ".repeat(50));
    await Deno.writeTextFile(`${folder}/text/01.txt`, "another text ".repeat(50));
    await Deno.remove(`${folder}/text/02.txt`);
    const { changes } = await planRun(options());
    const names = (paths: string[]) => paths.map((path) => path.slice(-6));
    const reported = [names(changes!.added), names(changes!.changed), names(changes!.removed)];
    assertEquals(reported, [["99.txt"], ["01.txt"], ["02.txt"]]);
    assert((await agree()).includes("tokenizer"));
    assertEquals(await agree(), []);
    assertEquals(await agree({ force: true }), ALL);
    assertEquals(await agree({ force: true }, { method: "argmax" }), ["assign", "split"]);
    assertEquals(await agree({}, { method: "argmax" }), []);
  }));

Deno.test("of two processes that begin a run at once the later one leaves the adapter that the other has noted", () =>
  inRun(async (_, options) => {
    const { run } = options();
    const adapter = { description: "a GPU", kind: "gpu" as const, variants: {} };
    await openRun(options(), {}, "test", async ({ configuration, make }) => {
      await writeRunConfiguration(run, configuration, adapter);
      await make([]);
    });
    assertEquals((await readRunConfiguration(run))!.adapter, adapter);
  }));

Deno.test("a run with other assignments copies from one that is named, is reported so, and makes no round again", () =>
  inRun(async (folder, options) => {
    const [first, run] = [`${folder}/run`, `${folder}/other`];
    const em = { partitioner: "em" } as const;
    await makePartition(options(em));
    const lines: string[] = [];
    const other = { ...options({ ...em, method: "argmax" }), run, reuse: [first] };
    await makePartition(other, {
      onEvent: (event) =>
        void (event.type === "stage" || event.type === "round" ? lines.push(eventLine(event)) : 0),
    });
    const reported = lines.map((line) => line.replace(/ +/, " ").replace(/(:| \().*/, ""));
    assertEquals(reported, [
      ...["tokenizer", "tokenize", "train-routers", "score"].map((stage) =>
        `${stage} copied from ${first}`
      ),
      ...["assign", "split"].flatMap((stage) => [`${stage} started`, `${stage} done`]),
    ]);
    const [there, here] = await Promise.all(
      [first, run].map((run) => Deno.stat(`${run}/partitioner/partitioner.json`)),
    );
    assertEquals(here.ino, there.ino);
    assertEquals(await stagesMade(other), []);
  }));

Deno.test("settings that something was made with are refused with both values, unless that is accepted", () =>
  inRun(async (_, options) => {
    await makePartition(options());
    const refused = async (flags: Partial<Configuration>, text: string) => {
      for (const call of [makePartition, planRun]) {
        await assertRejects(async () => void await call(options(flags)), InputError, text);
      }
    };
    await refused({ sequenceLength: 16 }, "it is 16, there it is 32");
    await refused({ method: "argmax" }, 'it is "argmax", there it is "balanced"');
    await refused({ experts: 3 }, "it is 3, there it is 2");
    await makePartition(options({ expertHidden: 16 })); // nothing was made with it
    const lock = await takeLock(options().run, "experts/expert-00", "train-expert");
    const error = await assertRejects(
      () => makePartition({ ...options({ experts: 3 }), force: true }),
      RunError,
    );
    assert(error.message.includes('makes "experts/expert-00"'));
    if ("release" in lock) lock.release();
  }));

Deno.test("a frozen run refuses other settings and other text, by name", () =>
  inRun(async (folder, options) => {
    const frozen = (flags?: Partial<Configuration>) =>
      makePartition({ ...options(flags), frozen: true });
    await assertRejects(() => frozen(), InputError, "it is not made yet");
    await makePartition(options());
    await frozen();
    await assertRejects(
      () => frozen({ experts: 3 }),
      InputError,
      "experts is 3, it was made with 2",
    );
    await Deno.writeTextFile(`${folder}/text/99.txt`, "more");
    await assertRejects(() => frozen(), InputError, "99.txt");
    await Deno.remove(`${folder}/text/99.txt`);
    await Deno.remove(`${folder}/run/partition/expert-00/train-00000.arrow`);
    await assertRejects(
      () => frozen(),
      InputError,
      'stage "split" would run (train-00000.arrow is damaged)',
    );
  }));

Deno.test("a frozen run reads its files, so that it sees a byte that changed in one of the same size and time", () =>
  inRun(async (folder, options) => {
    const path = `${folder}/text/01.txt`;
    const old = new Date("2020-01-01");
    for (const { name } of Deno.readDirSync(`${folder}/text`)) {
      await Deno.utime(`${folder}/text/${name}`, old, old);
    }
    await makePartition(options());
    const bytes = await Deno.readFile(path);
    await Deno.writeFile(path, bytes.with(9, bytes[9] ^ 1));
    await Deno.utime(path, old, old);
    assertEquals(await stagesPlanned(options()), []);
    await assertRejects(
      () => makePartition({ ...options(), frozen: true }),
      InputError,
      `changed "${path}"`,
    );
  }));

Deno.test("what a run would refuse, its plan refuses: endings, patterns without a source, no labels, a folder of others", () =>
  inRun(async (folder, options) => {
    const refused = async (
      more: Partial<RunOptions>,
      flags: Partial<Configuration>,
      text: string,
    ) => {
      for (const call of [planRun, makePartition]) {
        await assertRejects(
          async () => void await call({ ...options(flags), ...more }),
          InputError,
          text,
        );
      }
      assert(!await Deno.stat(`${folder}/run`).catch(() => null));
    };
    await Deno.writeTextFile(`${folder}/a.xyz`, "x");
    await refused({}, { input: [`${folder}/a.xyz`] }, "its name has no such ending");
    await refused({}, { sourceFromPath: "*.txt" }, "must hold {source} once");
    await refused({}, { partitioner: "source", method: "argmax" }, "labels");
    await refused({ run: `${folder}/text` }, {}, "and no config.json");
    await refused({}, { input: [`${folder}/none`] }, "must exist");
  }));

Deno.test("documents that a script hands over are kept, and read again whenever they are given", () =>
  inRun(async (_, options) => {
    const { flags: { input: _input, ...flags } = {} } = options().sources!;
    const given = (texts: string[]) => ({
      ...options(),
      sources: { flags },
      documents: listDocuments(texts),
    });
    const texts = Array.from(
      { length: 40 },
      (_, i) => `text ${i} of a river and a bridge `.repeat(20),
    );
    const limited = given(texts);
    limited.run = `${limited.run}-limited`;
    limited.sources = { flags: { ...flags, maxDocuments: 12, vocabularySize: 270 } };
    await makePartition(limited);
    const rows = readDocumentRows(`${limited.run}/text/documents.arrow`, ["document"]);
    assertEquals((await Array.fromAsync(rows)).length, 12);
    await makePartition(given(texts));
    assertEquals(await stagesMade(given(texts)), ["corpus"]);
    const { plan, stages: [corpus] } = await planRun(given([]));
    assertEquals([plan.nodes.map(({ name }) => name), corpus.toMake], [["text/given"], 1]);
    await assertRejects(
      () => makePartition({ ...given([]), frozen: true }),
      InputError,
      "it is handed over",
    );
    const other = {
      ...options(),
      force: true,
      sources: { flags: { ...flags, corpusCharacters: 9_000 } },
    };
    await assertRejects(() => planRun(other), InputError, "a script gave it");
    assert((await stagesMade(given([...texts, "one more ".repeat(30)]))).includes("split"));
  }));

async function* listDocuments(texts: readonly string[]) {
  for (const text of texts) yield await Promise.resolve({ text, source: "" });
}

Deno.test("a run's manifests are the same bytes whichever processes made it, in whole or stopped after every stage", () =>
  inFolder(async (folder) => {
    shareDevice();
    await writeTexts(`${folder}/text`, 8);
    const flags = {
      ...smallSettings(`${folder}/text`, { holdout: 0.3, dedup: "exact" }),
      expertHidden: 8,
      expertLayers: 1,
      expertHeads: 2,
      expertBatch: 4,
      expertSteps: 4,
    };
    const whole = `${folder}/whole`;
    const stopped = `${folder}/stopped`;
    const make = async (run: string, watch: RunWatch = {}) => {
      const options = { run, sources: { flags } };
      await partition(options, watch);
      await trainModels((configuration) => allTargets(configuration).slice(0, 3), options, watch);
      await evaluateRun({ run, resamples: 2 }, watch);
    };
    await make(whole);
    for (let stops = 0;; stops++) {
      const stop = new AbortController();
      const onEvent = (event: RunEvent) =>
        event.type === "stage" && event.state === "done" && stop.abort();
      const error = await make(stopped, { onEvent, signal: stop.signal }).catch((error) => error);
      if (error === undefined) {
        assert(stops > 5);
        break;
      }
      assertEquals(error.name, "AbortError", error.stack);
    }
    const one = await readManifests(whole);
    assert(Object.values(one).some((text) => text.includes('"adapter"')));
    assertEquals(await readManifests(stopped), one);

    // What is read of manifests that another process wrote is written again in their order.
    const sources = { flags: { ...flags, routers: `${whole}/partitioner` } };
    const run = `${folder}/parts`;
    for (const index of [2, 1]) await makePartition({ run, sources, part: { index, of: 2 } });
    await makePartition({ run, sources });
    await makePartition({ run: `${folder}/once`, sources });
    assertEquals(await readManifests(run), await readManifests(`${folder}/once`));
  }));
