/** Runs studies as a user does, as small as they can be. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { readManifest } from "../pipeline/graph/node.ts";
import { exists } from "../pipeline/graph/files.ts";
import type { RateSearch } from "../pipeline/report/reproduction.ts";
import {
  copyFolder,
  hashes,
  inFolder,
  ok,
  refused,
  sendSignal,
  SMALL,
  smallCorpus,
  task,
  taskCommand,
} from "./tasks/support.ts";

const BRIEF = [
  ...["--expert-hidden", "8", "--expert-layers", "1", "--expert-heads", "2", "--expert-batch", "4"],
  ...[
    "--expert-steps",
    "16",
    "--expert-warmup",
    "4",
    "--validate-every",
    "8",
    "--checkpoint-every",
    "0",
  ],
];

/**
 * Hashes what a folder of studies holds: manifests say of which run a node was linked, and whose
 * times differ.
 */
async function bytesOf(root: string): Promise<Record<string, string>> {
  const all = Object.entries(await hashes(root)).filter(([path]) =>
    !/timing\.jsonl|manifest\.json|text\/files\.json|\/(locks|partial|scratch)\//.test(path)
  );
  return Object.fromEntries(all);
}

Deno.test("a study makes what its runs share once, goes on after a kill to the same bytes, and reports what it found", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const args = (root: string, ...more: string[]) => [
      ...["--run", `${folder}/${root}`, "--input", `${folder}/docs.jsonl`, ...SMALL, ...BRIEF],
      ...["--study", "assignment", "--trial-share", "0.25", ...more],
    ];
    const child = taskCommand("reproduce", args("a"), { stdout: "null" }).spawn();
    let reported = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      reported += text;
      if (/em-optimal-seed-0 started/.test(text)) sendSignal(child, "SIGKILL");
    }
    assertEquals((await child.status).signal, "SIGKILL", reported);
    type PlannedJob = { run: string; job: string; done: boolean };
    const plan = async (args: string[]): Promise<PlannedJob[]> =>
      JSON.parse((await task("reproduce", [...args, "--dry-run", "--json"])).out).jobs;
    const jobs = await plan(args("a"));
    const done = jobs.filter(({ done }) => done).map(({ job }) => job);
    assert(done.includes("partition") && done.includes("dense-steps"), done.join());
    assert(done.length < jobs.length);

    const { err, out } = await ok(task("reproduce", args("a")));
    // Nor is that looked at again.
    assert(/train-routers +copied/.test(err) && !/em-2-experts-seed-0 started/.test(err), err);
    assertStringIncludes(out, "Parts at the least cost make a better mixture than greedy ones");
    assertEquals((await task("reproduce", args("b"))).code, 0);
    assertEquals(await bytesOf(`${folder}/b`), await bytesOf(`${folder}/a`));
    const [em, argmax] = await Promise.all(["em-2-experts", "em-argmax"].map(async (name) => {
      return await bytesOf(`${folder}/a/${name}-seed-0`);
    }));
    const same = Object.keys(em).filter((path) => em[path] === argmax[path]);
    assert(
      ["partitioner/", "scores/"].every((start) => same.some((path) => path.startsWith(start))),
    );
    assert(!same.includes("experts/expert-00/model.safetensors"));

    const { studies } = JSON.parse(await Deno.readTextFile(`${folder}/a/studies.json`));
    const { table } = studies.find(({ name }: { name: string }) => name === "assignment");
    const evaluation = JSON.parse(
      await Deno.readTextFile(`${folder}/a/em-optimal-seed-0/evaluation.json`),
    );
    assertStringIncludes(table.rows[1][1], evaluation.scores.mixture.perplexity.toFixed(2));
    const textIn = (root: string, name: string) => Deno.readTextFile(`${folder}/${root}/${name}`);
    assertStringIncludes(await textIn("a", "reproduction.md"), table.rows[1][1]);
    assertStringIncludes(await textIn("a", "report.html"), "Greedy, optimal and unbalanced parts");
    assert((await Deno.stat(`${folder}/a/plots/study-assignment.svg`)).size > 0);
    const { rates } = JSON.parse(await textIn("a", "rates.json"));
    assertEquals(
      new Set(Object.values<RateSearch>(rates).map(({ share }) => share)),
      new Set([0.25]),
    );
    const trial = await readManifest(`${folder}/a/em-2-experts-seed-0/search/dense-0.004`);
    assertEquals(trial?.result.steps, 4);

    // Elsewhere the small files that tell of the runs are enough, and one that is missing is made.
    const kept = `${folder}/kept`;
    copyFolder(`${folder}/a/outcomes`, `${kept}/outcomes`);
    await Deno.copyFile(`${folder}/a/rates.json`, `${kept}/rates.json`);
    const from = (root: string, ...more: string[]) => args(root, "--from", kept, ...more);
    const left = async (...more: string[]) =>
      (await plan(from("c", ...more))).filter(({ done }) => !done).map(({ run }) => run);
    assertEquals(await left(), []);
    assertEquals((await left("--expert-steps", "24")).length, jobs.length);
    assert((await left("--expert-rate", "0.5")).includes("em-optimal-seed-0"));
    assert(!await exists(`${folder}/c`));
    const whole = await ok(task("reproduce", from("c")));
    assert(!/started/.test(whole.err), whole.err);
    const results = [
      "studies.json",
      "reproduction.md",
      "rates.json",
      "outcomes/em-optimal-seed-0.json",
    ];
    for (const name of results) assertEquals(await textIn("c", name), await textIn("a", name));
    await Deno.remove(`${kept}/outcomes/em-optimal-seed-0.json`);
    const part = await ok(task("reproduce", from("d")));
    assert(
      /em-optimal-seed-0 started/.test(part.err) &&
        !/(argmax|experts)-seed-0 started/.test(part.err),
    );
    for (const name of results) assertEquals(await textIn("d", name), await textIn("a", name));
    // One run alone comes to the same; the rate of its experts is searched for where the whole
    // study does that.
    const alone = await ok(task("reproduce", args("f", "--only", "em-argmax-seed-0")));
    assertStringIncludes(alone.err, 'the study "assignment" is left out as its run');
    assertStringIncludes(alone.out, `${folder}/f/outcomes`);
    const note = "outcomes/em-argmax-seed-0.json";
    assertEquals(await textIn("f", note), await textIn("a", note));
    const folders = [...Deno.readDirSync(`${folder}/f/em-2-experts-seed-0`)].map(({ name }) =>
      name
    );
    assert(
      folders.includes("search") && !folders.includes("experts") && !folders.includes("dense"),
    );
    // Damage is reported before anything is written.
    await Deno.writeTextFile(
      `${kept}/${note}`,
      (await textIn("kept", note)).replace('"tokens": 1', '"tokens": 2'),
    );
    for (
      const [more, text] of [
        [from("e"), `Cannot read "${kept}/${note}" as it must be what a run came to`],
        [
          args("a", "--only", "none"),
          "Cannot make --only none as it must be one of em-2-experts-seed-0, ",
        ],
        [
          args("a", "--weight-decay", "0.3"),
          "as --weight-decay must be what its config.json has: it is 0.3",
        ],
      ] as const
    ) {
      await refused(task("reproduce", [...more]), text);
    }
    assert(!await exists(`${folder}/e`));
  }));
