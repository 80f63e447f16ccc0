import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertFalse,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  fail,
} from "@std/assert";
import { basename } from "node:path";
import { InputError } from "../../../../kernels/errors.ts";
import { compareWithFirst } from "../../../../pipeline/report/comparison/compare.ts";
import { compareRuns } from "../../../../pipeline/report/mod.ts";
import { ALL_TEST, EVALUATION } from "../../../../pipeline/graph/mod.ts";
import { words } from "../../../../tasks/cli/wording.ts";
import { copyFolder, inFolder } from "../../../tasks/support.ts";
import { changeEvaluation, plotsOf } from "../support.ts";
import { scoresOf, type Unlike, writeComparedRun } from "./support.ts";

Deno.test("compareRuns() puts settings, partitions and evaluations side by side, and counts sources won", () =>
  inFolder(async (folder) => {
    const runs = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    await writeComparedRun(runs[0], {
      sources: { code: 10, fiction: 20, news: 30 },
      perplexity: 20,
    });
    await writeComparedRun(runs[1], {
      settings: { partitioner: "ctbm", rounds: 3 },
      sources: { code: 12, fiction: 20, news: 25 },
      perplexity: 21,
    });
    await writeComparedRun(runs[2]);
    await Deno.remove(`${runs[2]}/${EVALUATION}`, { recursive: true });
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
    assertEquals(trainings.stages.length, 4); // reported together, with one command
    assertEquals([trainings.command.task, trainings.command.with.expert], ["train-expert", "all"]);
  }));

Deno.test("compareRuns() does not compare an evaluation of a part of the text", () =>
  inFolder(async (folder) => {
    const runs = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    for (const run of runs) await writeComparedRun(run, { perplexity: 20 });
    await changeEvaluation(runs[1], (own) => ({ ...own, trained: [0, 2] }));
    const { runs: compared, sources } = await compareRuns({ runs });
    assertEquals(
      compared.map(({ name, evaluation, trained, wins }) => [name, !evaluation, trained, wins]),
      [
        ["a", false, null, 3],
        ["b", true, [0, 2], null],
        ["c", false, null, 3],
      ],
    );
    assertEquals(
      sources.map(({ perplexity, best }) => [perplexity[1], best]),
      Array(3).fill([null, [0, 2]]),
    );
    // An evaluation of other text than the run holds out now is not reported at all.
    await changeEvaluation(runs[1], (own) => own, { inputs: { [ALL_TEST]: "0" } });
    const { runs: [, other], sources: none } = await compareRuns({ runs: runs.slice(0, 2) });
    // With whom would it be compared?.
    assertEquals([other.trained, other.evaluation, none], [null, null, []]);
  }));

Deno.test("compareRuns() compares the sources that all evaluated runs share, in whatever order they are named", () =>
  inFolder(async (folder) => {
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
      // None of its tokens is predicted.
      sources: [{ ...code, perplexity: { mixture: null } }, ...others],
    }));
    const compared = async (...runs: string[]) => {
      const { runs: reported, sources, sourcesApart, unlabelled } = await compareRuns({ runs });
      const wins = Object.fromEntries(reported.map(({ name, wins }) => [name, wins]));
      return [wins, sources.map(({ source }) => source), sourcesApart, unlabelled];
    };
    for (const runs of [[a, b], [b, a]]) {
      const labels = ["", "code", "fiction", "news"];
      assertEquals(await compared(...runs), [{ a: null, b: null }, [], labels, ["b"]]);
    }
    for (const runs of [[a, c], [c, a]]) {
      assertEquals(await compared(...runs), [
        { a: 1, c: 0 },
        ["code"],
        ["fiction", "news", "press"],
        [],
      ]);
    }
    assertEquals(await compared(a, d), [{ a: 1, d: 2 }, ["code", "fiction", "news"], [], []]);
    await changeEvaluation(a, (own) => ({
      ...own,
      sources: [{ ...own.sources[0], source: "", tokens: own.tokens }],
    }));
    // Without labels all text is one source.
    assertEquals(await compared(a, b), [{ a: 1, b: 0 }, [""], [], []]);
  }));

Deno.test("compareRuns() refuses what cannot be compared", () =>
  inFolder(async (folder) => {
    const [a, b] = ["a", "b"].map((name) => `${folder}/${name}`);
    for (const run of [a, b]) await writeComparedRun(run);
    const refuses = (runs: string[], message: string) =>
      assertRejects(() => compareRuns({ runs }), InputError, message);
    await refuses([a], `at least two must be named: only "${a}" is named`);
    await refuses([a, folder], "as it must be a run folder: it has no config.json");
    await refuses([a, `${b}/config.json`], "as it must be a folder: it is a file");
    await Deno.writeTextFile(`${b}/evaluation.json`, "{"); // the link leads to the node's file
    await refuses([a, b], "evaluation.json");
  }));

Deno.test("compareRuns() names runs by the shortest ends of their paths that differ", () =>
  inFolder(async (folder) => {
    const runs = ["x/em", "y/em", "y/x/em/", "./a"].map((name) => `${folder}/${name}`);
    await writeComparedRun(runs[0]);
    for (const run of runs.slice(1)) copyFolder(runs[0], run);
    assertEquals((await compareRuns({ runs })).runs.map(({ name }) => name), [
      ...[`${basename(folder)}/x/em`, "y/em", "y/x/em", "a"],
    ]);
  }));

Deno.test("compareRuns() takes the same tokens for the same text, whatever their blocks, and refuses others, with why", () =>
  inFolder(async (folder) => {
    const runs = ["a", "b"].map((name) => `${folder}/${name}`);
    const heldOut = async (other: Unlike) => {
      await writeComparedRun(runs[0]);
      await writeComparedRun(runs[1], other);
      return (await compareRuns({ runs })).heldOut!;
    };
    const same = await heldOut({ perBlock: 1 });
    assertEquals([same.sequences, same.untold], [1092, []]);
    assertMatch(same.sha256, /^[0-9a-f]{64}$/);
    const refused: [Unlike, RegExp][] = [
      [
        { tokens: [1, 2, 3, 4, 5, 7], settings: { seed: 3, holdout: 0.2 } },
        /must be the same: SHA-256 is \S+ and \S+, holdout 0\.1 and 0\.2, textSeed 0 and 3; make one/,
      ],
      [{ tokens: [1, 2, 3, 4] }, /of the same text with the other's tokenizer$/],
    ];
    for (const [other, text] of refused) {
      assertMatch((await assertRejects(() => heldOut(other), InputError)).message, text);
    }
    await writeComparedRun(runs[1], { perBlock: 1 });
    await Deno.remove(`${runs[1]}/tokens/1/test.arrow`);
    await assertRejects(() => compareRuns({ runs }), InputError, "must be the same");
  }));

/** Draws numbers from 0 to 1 (mulberry32), by another generator than the bootstrap's. */
function numbers(seed: number): () => number {
  return () => {
    seed = seed + 0x6d2b79f5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  };
}

Deno.test("compareWithFirst() gives the interval that draws by another generator give, none where all documents differ alike", async () => {
  const random = numbers(7);
  const resamples = 20_000;
  const tokens = Array.from({ length: 60 }, () => 1 + Math.floor(300 * random()));
  const hard = tokens.map(() => 2 + 3 * random());
  const a = tokens.map((count, i) => count * hard[i]);
  const b = tokens.map((count, i) => count * (hard[i] - 0.2 + 0.5 * random()));
  const alike = a.map((nll, i) => nll + 0.1 * tokens[i]);
  const runs = [null, ...[a, b, alike].map((nll) => scoresOf(tokens, nll))];
  const { first, gains: [, none, other, same] } = (await compareWithFirst(runs, { resamples }))!;
  assertEquals([first, none], [1, null]);
  for (const value of Object.values(same!)) {
    assertAlmostEquals(value, 100 * (1 - Math.exp(0.1)), 1e-10);
  }
  const gains = Array.from({ length: resamples }, () => {
    let [nlls, others, all] = [0, 0, 0];
    tokens.forEach(() => {
      const i = Math.floor(tokens.length * random());
      [nlls, others, all] = [nlls + b[i], others + a[i], all + tokens[i]];
    });
    return 100 * (1 - Math.exp((nlls - others) / all));
  }).sort((x, y) => x - y);
  const total = tokens.reduce((x, y) => x + y);
  const sum = (values: number[]) => values.reduce((x, y) => x + y) / total;
  assertAlmostEquals(other!.percent, 100 * (1 - Math.exp(sum(b) - sum(a))), 1e-10);
  const width = gains[19_499] - gains[499];
  assert(Math.abs(other!.low - gains[499]) < 0.05 * width, `${other!.low} and ${gains[499]}`);
  assert(
    Math.abs(other!.high - gains[19_499]) < 0.05 * width,
    `${other!.high} and ${gains[19_499]}`,
  );
});

Deno.test("compareWithFirst() pairs only runs whose text is cut into the same documents", async () => {
  const own = scoresOf([10, 20], [30, 40]);
  const third = scoresOf([10, 20], [29, 39]);
  const longer = { ...own, sequences: Uint32Array.of(1, 2) };
  const paired = async (...runs: Parameters<typeof compareWithFirst>[0]) => {
    const found = await compareWithFirst(runs, { resamples: 9 });
    return found && [found.first, ...found.gains.map((gain) => gain !== null)];
  };
  assertEquals(await paired(own, scoresOf([10, 21], [30, 40])), null);
  assertEquals(await paired(own, scoresOf([10, 20, 5], [30, 40, 9])), null);
  assertEquals(await paired(own, null), null);
  assertEquals(await paired(own, longer, third), [0, false, false, true]);
  assertEquals(await paired(longer, own, third), [1, false, false, true]);
});

/** Compares runs of these names, with a page; warnings about plots fail. */
async function pageOf(folder: string, runs: Record<string, Unlike>): Promise<string> {
  for (const [i, [name, unlike]] of Object.entries(runs).entries()) {
    await Deno.mkdir(`${folder}/${name}`, { recursive: true });
    const own = { settings: { rounds: 12 + i }, perplexity: 45 + i };
    await writeComparedRun(`${folder}/${name}`, { ...own, ...unlike });
  }
  const options = {
    words,
    output: `${folder}/out/compare.html`,
    onWarning: (message: string) => fail(message),
  };
  await compareRuns({ ...options, runs: Object.keys(runs).map((name) => `${folder}/${name}`) });
  return await Deno.readTextFile(options.output);
}

const PLOTS = [
  "em-nll",
  "em-nmi",
  "perplexity",
  "against-first",
  "prefix-perplexity",
  "perplexity-by-source",
];

Deno.test("compareRuns() writes a page of the runs that have something to show, and of those that are paired by document", () =>
  inFolder(async (folder) => {
    const runs = { a: { documents: [3, 4] }, b: { documents: [3.1, 4.2] }, c: { documents: [1] } };
    const page = await pageOf(folder, runs);
    assertEquals(plotsOf(page), PLOTS);
    const plain = page.replace(/<\/?span[^>]*>/g, "");
    const texts = [
      ...["<title>3 SmallTalk runs side by side</title>", "lowest perplexity of a mixture: a"],
      ...[
        "<td>--rounds</td><td>12</td><td>13</td>",
        "<td>a</td><td>64</td><td>45.00</td><td>40.50 to 49.50</td>",
      ],
      "deno task train-dense --run",
    ];
    for (const text of texts) assertStringIncludes(plain, text);
    assertEquals(await pageOf(folder, runs), page);
    const figure = page.slice(page.indexOf('id="plot-against-first"')).split("</figure>")[0];
    assertEquals([...figure.matchAll(/<tr><td>(\w)<\/td>/g)].map(([, name]) => name), ["b"]);
  }));

Deno.test("compareRuns() escapes names of runs, also in plots, and leaves out plots that cannot tell so many apart", () =>
  inFolder(async (folder) => {
    const page = await pageOf(folder, { "<script>alert(1)</script>&\"'": {}, "\u202eb": {} });
    assertFalse(/<script|\u202e/.test(page));
    assertStringIncludes(page, "&lt;/script&gt;"); // the folder's name ends there, at its last slash
    const many = Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`run-${i}`, {}]));
    assertEquals(plotsOf(await pageOf(folder, many)), ["perplexity", "against-first"]);
  }));
