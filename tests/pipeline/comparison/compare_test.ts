import { assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { shortNames } from "../../../pipeline/comparison/compare.ts";
import { compareRuns } from "../../../pipeline/comparison/mod.ts";
import { ALL_TEST, EVALUATION, MANIFEST } from "../../../pipeline/graph/mod.ts";
import { writeDescription } from "../../../pipeline/partition/folder.ts";
import { inFolder } from "../../tasks/support.ts";
import { changeNode } from "../report/support.ts";
import { changeEvaluation, removeEvaluation, writeComparedRun } from "./support.ts";

Deno.test("compareRuns() puts settings, partitions and evaluations side by side, and counts sources won", async () => {
  await inFolder(async (folder) => {
    const runs = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    await writeComparedRun(runs[0], { sources: { code: 10, fiction: 20, news: 30 }, perplexity: 20 });
    await writeComparedRun(runs[1], {
      settings: { partitioner: "ctbm", rounds: 3 },
      sources: { code: 12, fiction: 20, news: 25 },
      perplexity: 21,
    });
    await writeComparedRun(runs[2]);
    await removeEvaluation(runs[2]);
    const { runs: compared, settings, sources, heldOut, output } = await compareRuns({ runs });
    assertEquals(settings, [
      { setting: "partitioner", values: ["em", "ctbm", "em"] },
      { setting: "rounds", values: [12, 3, 12] },
    ]);
    assertEquals(compared.map(({ name, partitioner, wins }) => [name, partitioner, wins]), [
      ["a", "em", 2],
      ["b", "ctbm", 2],
      ["c", "em", null],
    ]);
    assertEquals(sources.map(({ source, perplexity, best }) => [source, perplexity, best]), [
      ["code", [10, 12, null], [0]],
      ["fiction", [20, 20, null], [0, 1]], // a tie counts for both
      ["news", [30, 25, null], [1]],
    ]);
    assertEquals(compared.map(({ evaluation }) => evaluation?.scores.mixture?.perplexity), [
      20,
      21,
      undefined,
    ]);
    const { partition, rounds, expertTokens } = compared[0];
    assertAlmostEquals(partition!.regret!, 0.03);
    assertAlmostEquals(partition!.tokenImbalance, 0.006, 1e-4);
    assertEquals([rounds.length, expertTokens], [6, 4 * 400 * 2032]);
    assertEquals([heldOut?.sequences, output], [1092, undefined]);
    const lacks = compared.map(({ lacks }) =>
      lacks.flatMap(({ stages, state }) => stages.map((s) => `${s} ${state}`))
    );
    assertEquals(lacks.map((own) => own.includes("evaluate missing")), [false, false, true]);
    const trainings = compared[0].lacks.find(({ stages }) => stages.includes("train-expert-00"))!;
    assertEquals(trainings.stages.length, 4); // told together, with one command
    assertEquals([trainings.command.task, trainings.command.with.expert], ["train-expert", "all"]);
  });
});

Deno.test("compareRuns() leaves out an evaluation of other text than the run holds out now", async () => {
  await inFolder(async (folder) => {
    const runs = ["a", "b"].map((name) => `${folder}/${name}`);
    for (const run of runs) await writeComparedRun(run);
    await changeNode(runs[1], EVALUATION, MANIFEST, (own) => ({ ...own, inputs: { [ALL_TEST]: "0" } }));
    const { runs: compared, sources } = await compareRuns({ runs });
    assertEquals(compared.map(({ evaluation }) => evaluation === null), [false, true]);
    assertEquals([sources, compared[0].wins], [[], null]); // with whom would it be compared?
  });
});

Deno.test("compareRuns() does not compare an evaluation of a part of the text", async () => {
  await inFolder(async (folder) => {
    const runs = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    for (const run of runs) await writeComparedRun(run, { perplexity: 20 });
    await changeEvaluation(runs[1], (own) => ({ ...own, trained: [0, 2] }));
    const { runs: compared, sources } = await compareRuns({ runs });
    assertEquals(compared.map(({ name, evaluation, trained, wins }) => [name, !evaluation, trained, wins]), [
      ["a", false, null, 3],
      ["b", true, [0, 2], null],
      ["c", false, null, 3],
    ]);
    assertEquals(sources.map(({ perplexity, best }) => [perplexity[1], best]), Array(3).fill([null, [0, 2]]));
    // A part of other text than the run holds out now is not told of at all.
    await changeNode(runs[1], EVALUATION, MANIFEST, (own) => ({ ...own, inputs: { [ALL_TEST]: "0" } }));
    assertEquals((await compareRuns({ runs })).runs[1].trained, null);
  });
});

Deno.test("compareRuns() tells which runs go by labels, also where their partitioner is from elsewhere", async () => {
  await inFolder(async (folder) => {
    const runs = ["a", "b", "c", "d"].map((name) => `${folder}/${name}`);
    const routers = `${folder}/b/partitioner`;
    const settings = [{}, { partitioner: "source", sourceField: "label" }, { routers }, {
      routers: `${folder}/gone`,
    }];
    for (const [i, run] of runs.entries()) await writeComparedRun(run, { settings: settings[i] });
    await Deno.mkdir(routers, { recursive: true });
    await Deno.writeTextFile(`${routers}/sources.json`, "{}");
    await writeDescription(routers, {
      ...{ kind: "source", experts: 4, prefix: 64, tokenizer: "0", vocabulary: 1024, eos: 0 },
    });
    const { runs: compared } = await compareRuns({ runs });
    assertEquals(compared.map(({ partitioner, routes }) => [partitioner, routes]), [
      ["em", true],
      ["source", false],
      [null, false],
      [null, true],
    ]);
  });
});

Deno.test("compareRuns() compares the sources that all evaluated runs share, in whatever order they are named", async () => {
  await inFolder(async (folder) => {
    const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => `${folder}/${name}`);
    await writeComparedRun(a, { sources: { code: 10, fiction: 20, news: 30 } });
    for (const run of [b, c, d]) {
      await writeComparedRun(run, { sources: { code: 12, fiction: 18, news: 25 } });
    }
    await changeEvaluation(b, (own) => ({
      ...own,
      sources: [{ ...own.sources[0], source: "", tokens: own.tokens }],
    }));
    await changeEvaluation(c, ({ sources: [code, fiction, news], ...own }) => ({
      ...own,
      sources: [code, { ...fiction, tokens: fiction.tokens + 1 }, { ...news, source: "press" }],
    }));
    await changeEvaluation(d, ({ sources: [code, ...others], ...own }) => ({
      ...own,
      sources: [{ ...code, perplexity: { mixture: null } }, ...others], // none of its tokens is predicted
    }));
    const compared = async (...runs: string[]) => {
      const { runs: told, sources, sourcesApart, unlabelled } = await compareRuns({ runs });
      const wins = Object.fromEntries(told.map(({ name, wins }) => [name, wins]));
      return [wins, sources.map(({ source }) => source), sourcesApart, unlabelled];
    };
    for (const runs of [[a, b], [b, a]]) {
      const labels = ["", "code", "fiction", "news"];
      assertEquals(await compared(...runs), [{ a: null, b: null }, [], labels, ["b"]]);
    }
    for (const runs of [[a, c], [c, a]]) {
      assertEquals(await compared(...runs), [{ a: 1, c: 0 }, ["code"], ["fiction", "news", "press"], []]);
    }
    assertEquals(await compared(a, d), [{ a: 1, d: 2 }, ["code", "fiction", "news"], [], []]);
    await changeEvaluation(a, (own) => ({
      ...own,
      sources: [{ ...own.sources[0], source: "", tokens: own.tokens }],
    }));
    assertEquals(await compared(a, b), [{ a: 1, b: 0 }, [""], [], []]); // without labels all text is one source
  });
});

Deno.test("compareRuns() refuses what cannot be compared", async () => {
  await inFolder(async (folder) => {
    const [a, b] = ["a", "b"].map((name) => `${folder}/${name}`);
    for (const run of [a, b]) await writeComparedRun(run);
    const refuses = (runs: string[], message: string) =>
      assertRejects(() => compareRuns({ runs }), InputError, message);
    await refuses([], "at least two must be named: none is named");
    await refuses([a], `at least two must be named: only "${a}" is named`);
    await refuses([a, b, a], `each must be named once: "${a}" is named twice`);
    await refuses([a, b, `${folder}/./b`], "are the same");
    await refuses(
      [a, `${folder}/c`],
      `Cannot compare "${folder}/c" as it must be a run folder: there is no such`,
    );
    await refuses([a, folder], "as it must be a run folder: it has no config.json");
    await refuses([a, `${b}/config.json`], "as it must be a folder: it is a file");
    await Deno.writeTextFile(`${b}/evaluation.json`, "{"); // the link leads to the node's file
    await refuses([a, b], "evaluation.json");
  });
});

Deno.test("shortNames() takes the shortest ends of paths that differ", () => {
  assertEquals(shortNames(["runs/em", "runs/ctbm/"]), ["em", "ctbm"]);
  assertEquals(shortNames(["x/em", "y/em", "z/a"]), ["x/em", "y/em", "a"]);
  assertEquals(shortNames(["em", "runs/em"]), ["em", "runs/em"]);
  assertEquals(shortNames(["."]), ["."]);
});
