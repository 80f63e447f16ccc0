// A tree of routers through a whole run: by levels, in parts, without locks, after interruptions,
// with prices.

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError, wordText } from "../kernels/errors.ts";
import { readManifest } from "../pipeline/graph/mod.ts";
import { assignBalanced, openPartitioner } from "../pipeline/partition/mod.ts";
import { branchName, expertPath, listBranches } from "../pipeline/partition/tree/branches.ts";
import { openRows } from "../pipeline/rows/random_access.ts";
import type { Configuration } from "../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../pipeline/settings/resolution.ts";
import {
  evaluateRun,
  generate,
  openMixture,
  partition,
  type RunEvent,
  trainExpert,
  verifyRun,
} from "../mod.ts";
import { readStatus } from "../pipeline/run/mod.ts";
import { withoutRates } from "../pipeline/reproduction/search.ts";
import { partitionGraph } from "../pipeline/run/plan.ts";
import { resolveSettings } from "../pipeline/run/settings.ts";
import { gpu } from "./kernels/support.ts";
import { makeSmall, rootHash, smallSettings, writeTexts } from "./pipeline/run/support.ts";
import { copyFolder, inFolder, lastingFolder, task } from "./tasks/support.ts";

const TREE: Partial<Configuration> = {
  experts: 4,
  levels: [2, 2],
  rounds: 2,
  roundSequences: 16,
  chunk: 0,
};

/** Runs a test with a folder of text, and settings of a tree of it. */
const inText = (
  body: (folder: string, settings: Configuration) => Promise<void>,
  more: Partial<Configuration> = {},
) =>
  inFolder(async (folder) => {
    await writeTexts(`${folder}/text`);
    await body(folder, smallSettings(`${folder}/text`, { ...TREE, ...more }));
  });

let made: ReturnType<typeof makeTree> | undefined;

/** Makes a run of a tree with held-out text, once for the tests that read it. */
async function makeTree() {
  const folder = await lastingFolder();
  const run = `${folder}/run`;
  await writeTexts(`${folder}/text`);
  const settings = smallSettings(`${folder}/text`, { ...TREE, holdout: 0.4 });
  return { ...await partition({ run, sources: { flags: settings }, gpu }), settings };
}

/** Gives what each branch of a tree was given, from the training sequences of its experts. */
function checkBalance(levels: readonly number[], loads: readonly number[]): void {
  const under = (path: string) =>
    loads.filter((_, expert) => `${expertPath(expert, levels)}.`.startsWith(path)).reduce(
      (a, b) => a + b,
      0,
    );
  for (const path of listBranches(levels)) {
    const shares = Array.from(
      { length: levels[path.length] },
      (_, i) => under(`${[...path, i].join(".")}.`),
    );
    assert(Math.max(...shares) - Math.min(...shares) <= 1, `${path}: ${shares}`);
  }
}

for (
  const [levels, more] of [
    [[2, 2], {}],
    [[10, 10], { partitioner: "ctbm", holdout: 0.3 }],
    [[2, 2, 3], { start: "ctbm", method: "optimal" }],
  ] as [number[], Partial<Configuration>][]
) {
  Deno.test(`a tree of ${levels.join("x")} with ${JSON.stringify(more)} is balanced within one by level, and verified`, () =>
    inText(async (folder, settings) => {
      const run = `${folder}/run`;
      const { experts, nmi, levels: assigned = [] } = await partition({
        run,
        sources: { flags: settings },
        gpu,
      });
      checkBalance(levels, experts.map(({ sequences }) => sequences));
      assert(experts.every(({ sequences }) => sequences > 0) && nmi === null);
      const { problems, trainSequences } = await verifyRun(run);
      assertEquals(problems, []);
      assertEquals(trainSequences, experts.reduce((sum, { sequences }) => sum + sequences, 0));
      assert(await readManifest(`${run}/branches/${branchName(listBranches(levels).at(-1)!)}`));
      if (experts.length === 100) { // whose names have three digits
        assertEquals([
          experts[37].path,
          (await readManifest(`${run}/partition/expert-037`))!.result.expert,
        ], [
          "3.7",
          37,
        ]);
        const { stages } = await readStatus(run);
        const trained = stages.find(({ stage }) => stage === "train-expert-037")!;
        assertEquals([trained.path, trained.command.with.expert], ["3.7", 37]);
      }
      const root = await readManifest(`${run}/assignments/root`);
      if (settings.method !== "optimal") return;
      const { cost, bound } = root!.result.proof as Record<string, number>;
      assert(Math.abs(cost - bound) <= 1e-9 * cost, `${cost} is not ${bound}`);
      assertEquals(assigned.map(({ loads }) => loads.length), [2, 4, 12]);
      assertEquals(assigned.at(-1)!.loads, experts.map(({ sequences }) => sequences));
      for (const { loads, proof } of assigned) {
        assertEquals([proof!.rows, loads.reduce((a, b) => a + b)], [
          trainSequences,
          trainSequences,
        ]);
        assert(Math.abs(proof!.gapShare) < 1e-6 && proof!.cost >= proof!.unbalanced);
      }
      assertEquals([assigned[0].proof!.cost, assigned[0].proof!.bound], [cost, bound]);
    }, { ...more, levels, experts: levels.reduce((a, b) => a * b) }));
}

Deno.test("a held-out sequence goes where the tree sends it greedily, and costs what its last router says", async () => {
  const { run, settings } = await (made ??= makeTree());
  const tree = await openPartitioner(`${run}/partitioner`, () => Promise.resolve(gpu));
  const { nodes } = await partitionGraph(run, settings);
  const blocks = nodes.flatMap(({ name }) => /^tokens\/(.*)/.exec(name)?.[1] ?? []);
  using tokens = await openRows(blocks.map((block) => `${run}/tokens/${block}/test.arrow`));
  using assigned = await openRows(
    blocks.map((block) => `${run}/assignments/all/${block}-test.arrow`),
  );
  const numbers = [...Array(tokens.count).keys()];
  assert(numbers.length > 10);
  const rows = tokens.read(numbers, ["tokens", "length"]);
  const costs = await tree.costs({ ...rows, sequenceLength: 32 }, [settings.prefix]);
  const best = numbers.map((row) => {
    const own = costs.subarray(row * 4, (row + 1) * 4);
    return own.indexOf(Math.min(...own));
  });
  assertEquals([...assigned.read(numbers, ["expert"]).expert], best);
  tree.close();
});

Deno.test("experts of a tree are trained, evaluated greedily and with a beam, and answer a prompt", async () => {
  const { run, experts } = await (made ??= makeTree());
  const training = {
    expertSteps: 3,
    expertHidden: 8,
    expertHeads: 2,
    expertLayers: 1,
    expertBatch: 4,
  };
  for (const expert of experts.keys()) {
    await trainExpert(expert, { run, gpu, sources: { flags: training } });
  }
  const greedy = await evaluateRun({ run, gpu, resamples: 20 });
  const routed = greedy.segments.map(({ sequences }) => sequences); // as \`split\` has divided the held-out sequences
  assertEquals(routed, experts.map(({ testSequences }) => testSequences));
  assertEquals((await readManifest(`${run}/evaluation/result`))!.settings.beam, undefined);
  const wide = await evaluateRun({ run, gpu, resamples: 20, beam: 2 });
  assertEquals((await readManifest(`${run}/evaluation/result`))!.settings.beam, 2);
  assertEquals(wide.sequences, greedy.sequences);
  assert(wide.scores.mixture!.perplexity > 1);
  for (const [beam, followed] of [[undefined, 2], [2, 4]]) {
    const generation = await generate({
      run,
      prompt: "river stone court",
      gpu,
      beam,
      maxNewTokens: 2,
    });
    await Array.fromAsync(generation);
    const { scores, expert } = generation.route!;
    assertEquals(scores.filter((score) => score > -Infinity).length, followed);
    assertEquals(scores.indexOf(Math.max(...scores)), expert);
  }
  const mixture = await openMixture({ run, gpu });
  const texts = [Uint32Array.of(5, 9, 20, 33)];
  const [{ scores: followed }] = await mixture.routeAll(texts);
  const exclude = followed.flatMap((score, expert) => score > -Infinity ? [expert] : []);
  const [{ expert, runnerUp, margin, scores }] = await mixture.routeAll(texts, undefined, exclude);
  const [best, second] = [0, 1, 2, 3].filter((e) => !exclude.includes(e)).sort((a, b) =>
    scores[b] - scores[a]
  );
  assertEquals([exclude.length, expert, runnerUp, margin], [
    2,
    best,
    second,
    scores[best] - scores[second],
  ]);
  assert(scores.every(Number.isFinite) && margin < 1000); // all branches are followed
  mixture.close();
});

Deno.test("the rows of a branch are assigned by the paper's rule on its own scores alone", async () => {
  const { run, settings } = await (made ??= makeTree());
  for (const name of [[0], [1]].map(branchName)) {
    assertEquals((await readManifest(`${run}/scores/${name}`))!.result, { experts: 2 }); // rows count at the root
    using scores = await openRows([`${run}/scores/${name}/train.arrow`]);
    using assigned = await openRows([`${run}/assignments/${name}/${name}-train.arrow`]);
    const numbers = [...Array(scores.count).keys()];
    const { nll, length } = scores.read(numbers, ["nll", "length"]);
    const { expert } = assigned.read(numbers, ["expert"]);
    const predicted = length.map((real) => Math.min(real, settings.prefix) - 1);
    assertEquals(expert, assignBalanced(nll, 2, predicted));
  }
});

Deno.test("parts in any order, at once and without locks, and interruptions give the bytes of one process", () =>
  inText(async (folder, settings) => {
    await makeSmall(`${folder}/one`, settings);
    const expected = await rootHash(`${folder}/one`, settings);
    const lock = () => Promise.resolve({ release() {} });
    await Promise.all(
      [2, 1].map((index) =>
        makeSmall(`${folder}/parts`, settings, { part: { index, of: 2 }, lock })
      ),
    );
    assertEquals(await rootHash(`${folder}/parts`, settings), expected);
    for (const after of [1, 2, 2, Infinity]) { // rounds
      let rounds = 0;
      const ended = new AbortController();
      const onEvent = ({ type }: RunEvent) => {
        if (type === "round" && ++rounds === after) ended.abort();
      };
      const made = partition({ run: `${folder}/ended`, sources: { flags: settings }, gpu }, {
        signal: ended.signal,
        onEvent,
      });
      if (after < Infinity) await assertRejects(() => made);
      else await made;
    }
    assertEquals(await rootHash(`${folder}/ended`, settings), expected);
    const { nodes } = await partitionGraph(`${folder}/branch`, settings, { keep: true });
    const isOfBranch = (name: string) =>
      /^(rounds|branches|scores|assignments)\/branch-01/.test(name);
    await makeSmall(`${folder}/branch`, settings, { wanted: ({ name }) => isOfBranch(name) }); // the other part is not there
    for (const { name } of nodes.filter(({ name }) => name.includes("branch-"))) {
      const isThere = await readManifest(`${folder}/branch/${name}`) !== null;
      assertEquals(isThere, isOfBranch(name), name);
    }
    await makeSmall(`${folder}/branch`, settings);
    assertEquals(await rootHash(`${folder}/branch`, settings), expected);
  }));

Deno.test("a run's prices of every branch, and its routers, split new text", () =>
  inText(async (folder, settings) => {
    const first = `${folder}/first`;
    const second = `${folder}/second`;
    await partition({ run: first, sources: { flags: settings }, gpu });
    const { partitioner: _, ...same } = settings;
    const flags = {
      ...same,
      routers: `${first}/partitioner`,
      prices: first,
      tokenizer: `${first}/tokenizer/tokenizer.json`,
    };
    const { experts } = await partition({ run: second, sources: { flags }, gpu });
    assertEquals(experts.length, 4);
    assertEquals((await verifyRun(second)).problems, []);
    const block = Deno.readDirSync(`${first}/tokens`).find(({ isDirectory }) => isDirectory)!.name;
    const scored = `${folder}/scores.arrow`;
    const tokens = `${first}/tokens/${block}/train.arrow`;
    await task("score", [tokens, "--routers", flags.routers, "--prefix", "16", "--output", scored]);
    using scores = await openRows([scored]); // assigned to any expert, so of all branches
    assert(scores.count > 0);
    assert(
      scores.read([...Array(scores.count).keys()], ["nll"]).nll.every((cost) => cost < 2 ** 100),
    );
    const file = { ...flags, prices: `${first}/assignments/root/prices.json` };
    await assertRejects(
      () => partition({ run: `${folder}/third`, sources: { flags: file }, gpu }),
      InputError,
      "must be a run",
    );
    for (const other of [{ experts: 2, levels: [] }, { experts: 6, levels: [2, 3] }]) {
      await assertRejects(
        () =>
          partition({ run: `${folder}/third`, sources: { flags: { ...flags, ...other } }, gpu }),
        InputError,
        "there are 2x2",
      );
    }
    const { experts: _number, levels: _levels, ...other } = flags;
    const study = withoutRates({ preset: "tiny", flags: other });
    // A number of experts alone, as a preset gives.
    for (const given of [study, { ...flags, levels: [] }]) {
      const { configuration } = await resolveSettings(`${folder}/third`, { flags: given }, false);
      assertEquals([configuration.experts, configuration.levels], [4, [2, 2]]);
    }
    const ofPreset = await resolveSettings(
      `${folder}/third`,
      { preset: "tiny", flags: other },
      false,
    );
    assertEquals(ofPreset.configuration.levels, [2, 2]); // tiny says 4 experts
    const { experts: _same, levels: _wide, ...rest } = settings;
    await assertRejects(
      () => partition({ run: first, sources: { preset: "tiny", flags: rest }, gpu }),
      InputError,
      "it is [], there it is [2,2]",
    );
    const names = async () =>
      (await partitionGraph(second, flags as Configuration, { recorded: true })).nodes.map((
        { name },
      ) => name);
    const all = await names();
    await Deno.rename(first, `${folder}/elsewhere`);
    assertEquals((await names()).sort(), all.sort());
    const states = (await readStatus(second)).stages.filter(({ partition }) => partition);
    assert(states.every(({ state }) => state === "up to date"), JSON.stringify(states));
    await Deno.rename(`${folder}/elsewhere`, first);
    const priced = `${folder}/priced`;
    const kept = `${folder}/kept`;
    for (const name of ["partitioner", "tokenizer"]) {
      await copyFolder(`${first}/${name}`, `${kept}/${name}`);
    }
    const named = { routers: `${kept}/partitioner`, tokenizer: `${kept}/tokenizer/tokenizer.json` };
    await partition({ run: priced, sources: { flags: { ...flags, ...named } }, gpu });
    await Deno.rename(first, `${folder}/elsewhere`);
    const { stages, unseen } = await readStatus(priced);
    assertMatch(
      wordText(unseen!),
      /^Cannot use .* of a tree as it must be a run: ".*first" is none$/,
    );
    const made = stages.filter(({ partition }) => partition);
    assert(made.every(({ state }) => state === "up to date"), JSON.stringify(made));
  }, { method: "optimal" }));

Deno.test("a tree of one level is the flat run, node by node", () =>
  inText(async (folder, settings) => {
    const one = resolveConfiguration({ flags: { ...settings, experts: 4, levels: [4] } });
    assertEquals(one.levels, []);
    const keys = async (of: Configuration) =>
      (await partitionGraph(`${folder}/run`, of)).nodes.map(({ maker: _, ...node }) => node);
    assertEquals(await keys(one), await keys({ ...settings, levels: [] }));
  }));

Deno.test("--experts 4x4 sets both the number and the levels, and what cannot be a tree is refused", () => {
  const resolved = (flags: Record<string, unknown>, base: Partial<Configuration> = {}) =>
    resolveConfiguration({ base, flags: flags as Partial<Configuration> });
  const { experts, levels } = resolved({ experts: "4x2x3" });
  assertEquals([experts, levels], [24, [4, 2, 3]]);
  assertEquals(resolved({ experts: 8 }, { experts: 16, levels: [4, 4] }).levels, []);
  assertEquals(resolved({}, { experts: 16, levels: [4, 4] }).levels, [4, 4]);
  for (const experts of ["4x", "x4", "4x1", "4 x 4", "300x300"]) {
    const error = resolved.bind(null, { experts });
    assertRejectsInput(error);
  }
  assertRejectsInput(() => resolved({ experts: "2x2", partitioner: "random" }));
  assertRejectsInput(() => resolved({ experts: "2x2", levels: [4, 4] }));
  assertRejectsInput(() => resolved({ experts: "2x8", levels: "4,4" }));
  assertEquals(resolved({ experts: "2x2", levels: [2, 2] }).levels, [2, 2]);
  assertRejectsInput(() => resolved({ experts: 5, levels: [2, 2] }));
  assertRejectsInput(() => resolved({ experts: 4, levels: [3] }));
  assertRejectsInput(() => resolved({ experts: 4, levels: "2,2" })); // as a file may hold it
  const one = resolved({ levels: [3] });
  assertEquals([one.experts, one.levels], [3, []]);
});

function assertRejectsInput(body: () => unknown): void {
  try {
    body();
  } catch (error) {
    return assert(error instanceof InputError, String(error));
  }
  throw new Error("it must be refused");
}
