/** Runs a study as a user does, as small as it can be. */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../kernels/errors.ts";
import { reproduce, runStudies, STUDIES } from "../pipeline/reproduction/mod.ts";
import { readOutcome, rememberHashes } from "../pipeline/reproduction/studies/outcomes.ts";
import { readRunConfiguration } from "../pipeline/run/configuration.ts";
import type { RunEvent } from "../pipeline/run/events.ts";
import type { RunOptions, RunWatch } from "../pipeline/stages/session.ts";
import { exists } from "../pipeline/run/files.ts";
import { type Hold, lockRun } from "../pipeline/run/lock.ts";
import { readManifest } from "../pipeline/run/manifest.ts";
import { seal } from "../pipeline/run/seal.ts";
import type { RateSearch, Searched } from "../pipeline/report/reproduction.ts";
import type { Configuration } from "../pipeline/settings/configuration.ts";
import { until } from "./slurm.ts";
import {
  copyFolder,
  hashes,
  inFolder,
  sendSignal,
  SMALL,
  smallCorpus,
  task,
  taskCommand,
} from "./tasks/support.ts";

const BRIEF = [
  ...["--expert-hidden", "8", "--expert-layers", "1", "--expert-heads", "2", "--expert-batch", "4"],
  ...["--expert-steps", "16", "--expert-warmup", "4", "--validate-every", "8", "--checkpoint-every", "0"],
];

/** Leaves the files out that hold times. */
const withoutTimes = (all: Record<string, string>) =>
  Object.fromEntries(Object.entries(all).filter(([path]) => !path.endsWith("timing.jsonl")));

Deno.test("a study makes what its runs share once, goes on after a kill to the same bytes, and says what it found", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const args = (root: string, ...more: string[]) => [
      ...["--run", `${folder}/${root}`, "--input", `${folder}/docs.jsonl`, ...SMALL, ...BRIEF],
      ...["--study", "assignment", "--trial-share", "0.25", ...more],
    ];
    const child = taskCommand("reproduce", args("a"), { stdout: "null" }).spawn();
    let told = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      told += text;
      if (/em-optimal-seed-0 started/.test(text)) sendSignal(child, "SIGKILL");
    }
    assertEquals((await child.status).signal, "SIGKILL", told);
    const planned = await task("reproduce", args("a", "--dry-run", "--json"));
    const { pieces } = JSON.parse(planned.out);
    const done = pieces.filter(({ done }: { done: boolean }) => done).map(({ piece }: { piece: string }) =>
      piece
    );
    assert(done.includes("partition") && done.includes("dense-steps"), done.join());
    assert(done.length < pieces.length);

    const { code, err, out } = await task("reproduce", args("a"));
    assertEquals(code, 0, err);
    assert(/em-2-experts-seed-0 started[\s\S]*train-dense-steps up to date/.test(err), err);
    assertStringIncludes(out, "Parts at the least cost make a better mixture than greedy ones");
    assertEquals((await task("reproduce", args("b"))).code, 0);
    const [a, b] = [await hashes(`${folder}/a`), await hashes(`${folder}/b`)];
    assertEquals(withoutTimes(b), withoutTimes(a));
    // The routers are the same, and so is what they learned from; parts and experts are not.
    const same = Object.keys(a).filter((path) => path.startsWith("em-2-experts-seed-0/"))
      .filter((path) => a[path] === a[path.replace("em-2-experts", "em-argmax")]);
    assert(
      same.some((path) => path.includes("/partitioner/")) && same.some((path) => path.includes("/scores/")),
    );
    assert(!same.some((path) => path.includes("/experts/expert-00/model")));

    const studies = JSON.parse(await Deno.readTextFile(`${folder}/a/studies.json`)).studies;
    const { table } = studies.find(({ name }: { name: string }) => name === "assignment");
    const evaluation = JSON.parse(await Deno.readTextFile(`${folder}/a/em-optimal-seed-0/evaluation.json`));
    assertStringIncludes(table.rows[1][1], evaluation.scores.mixture.perplexity.toFixed(2));
    const markdown = await Deno.readTextFile(`${folder}/a/reproduction.md`);
    assertStringIncludes(markdown, table.rows[1][1]);
    assertStringIncludes(
      await Deno.readTextFile(`${folder}/a/report.html`),
      "Greedy, optimal and unbalanced parts",
    );
    assert((await Deno.stat(`${folder}/a/plots/study-assignment.svg`)).size > 0);

    const { rates } = JSON.parse(await Deno.readTextFile(`${folder}/a/rates.json`));
    assertEquals(new Set(Object.values<RateSearch>(rates).map(({ share }) => share)), new Set([0.25]));
    const trial = await readManifest(`${folder}/a/em-2-experts-seed-0`, "search-dense-0.004");
    assertEquals(trial?.configuration.steps, 4);

    // Damage in a run of another study is told, and the study that was asked for is whole.
    const spoiled = `${folder}/b/em-optimal-seed-0/evaluation.json`;
    await Deno.writeTextFile(spoiled, (await Deno.readTextFile(spoiled)).slice(0, -9));
    const others = args("b").map((arg) => arg === "assignment" ? "segments" : arg);
    const segments = await task("reproduce", others);
    assertEquals(segments.code, 0, segments.err);
    assertStringIncludes(segments.err, 'the study "assignment" is left out');
    assertStringIncludes(segments.out, "Every expert");

    // Elsewhere the small files that tell of the runs are enough, and one that is missing is made.
    const kept = `${folder}/kept`;
    copyFolder(`${folder}/a/outcomes`, `${kept}/outcomes`);
    await Deno.copyFile(`${folder}/a/rates.json`, `${kept}/rates.json`);
    const from = (root: string, ...more: string[]) => args(root, "--from", kept, ...more);
    const left = async (...more: string[]) => {
      const { out } = await task("reproduce", from("c", "--dry-run", "--json", ...more));
      return JSON.parse(out).pieces.filter(({ done }: { done: boolean }) => !done)
        .map(({ run }: { run: string }) => run);
    };
    assertEquals(await left(), []);
    assertEquals((await left("--expert-steps", "24")).length, pieces.length);
    assert((await left("--expert-rate", "0.5")).includes("em-optimal-seed-0"));
    assert(!await exists(`${folder}/c`));
    const whole = await task("reproduce", from("c"));
    assertEquals(whole.code, 0, whole.err);
    assert(!/partition|train-|evaluate/.test(whole.err), whole.err);
    const textIn = (root: string, name: string) => Deno.readTextFile(`${folder}/${root}/${name}`);
    const results = ["studies.json", "reproduction.md", "rates.json", "outcomes/em-optimal-seed-0.json"];
    for (const name of results) assertEquals(await textIn("c", name), await textIn("a", name));
    await Deno.remove(`${kept}/outcomes/em-optimal-seed-0.json`);
    assertEquals([...new Set(await left())], []); // c has taken it in
    const part = await task("reproduce", from("d"));
    assertEquals(part.code, 0, part.err);
    assert(/em-optimal-seed-0 started/.test(part.err) && !/(argmax|experts)-seed-0 started/.test(part.err));
    for (const name of results) assertEquals(await textIn("d", name), await textIn("a", name));
    // One run alone comes to the same; the rate of its experts is searched for where the whole study does that.
    const alone = await task("reproduce", args("f", "--only", "em-argmax-seed-0"));
    assertEquals(alone.code, 0, alone.err);
    assertStringIncludes(alone.err, 'the study "assignment" is left out as its run');
    assertStringIncludes(alone.out, `${folder}/f/outcomes`);
    const argmax = "outcomes/em-argmax-seed-0.json";
    assertEquals(await textIn("f", argmax), await textIn("a", argmax));
    const folders = [...Deno.readDirSync(`${folder}/f/em-2-experts-seed-0`)].map(({ name }) => name);
    assert(folders.includes("search") && !folders.includes("experts") && !folders.includes("dense"));
    assert(!await exists(`${folder}/f/em-optimal-seed-0`));
    // Damage is told before anything is written.
    const note = `${kept}/outcomes/em-argmax-seed-0.json`;
    await Deno.writeTextFile(note, (await Deno.readTextFile(note)).replace('"tokens": 1', '"tokens": 2'));
    const damaged = await task("reproduce", from("e"));
    assertEquals(damaged.code, 2, damaged.err);
    assertStringIncludes(damaged.err, `Cannot read "${note}" as it must be what a run came to`);
    assert(!await exists(`${folder}/e`));

    for (
      const [more, text] of [
        [args("a", "--study", "none"), "must be one of"],
        [args("a", "--only", "none"), "Cannot make --only none as it must be one of em-2-experts-seed-0, "],
        [args("a", "--from", `${folder}/none`), "must be a folder of studies, or of their results"],
        [
          ["--study", "experts", "--run", `${folder}/a/em-argmax-seed-0`],
          "must be a folder of runs: it is a run itself",
        ],
      ] as const
    ) {
      const refused = await task("reproduce", [...more]);
      assertEquals(refused.code, 2, refused.err);
      assertStringIncludes(refused.err, text);
    }
  }));

Deno.test("two processes make the pieces of one study side by side, to the bytes of one", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const args = (root: string) => [
      ...["--run", `${folder}/${root}`, "--input", `${folder}/docs.jsonl`, ...SMALL, ...BRIEF],
      ...["--study", "routers"],
    ];
    // The first one stands still for a while as soon as it works, as a slower machine would: the other goes ahead.
    const slow = taskCommand("reproduce", args("both")).spawn();
    const first = slow.output();
    const firstRun = async () => {
      for await (const { name } of Deno.readDir(`${folder}/both`)) {
        if (await exists(`${folder}/both/${name}/config.json`)) return true;
      }
      return false;
    };
    await until("the first run", async () => await exists(`${folder}/both`) && await firstRun(), 120);
    sendSignal(slow, "SIGSTOP");
    const second = task("reproduce", args("both"));
    await new Promise((done) => setTimeout(done, 6000));
    sendSignal(slow, "SIGCONT");
    const { code, stdout, stderr } = await first;
    const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
    const both = [{ code, out: text(stdout), err: text(stderr) }, await second];
    const alone = await task("reproduce", args("alone"));
    for (const { code, err } of [...both, alone]) assertEquals(code, 0, err);
    for (const { out } of both) assertEquals(out, alone.out.replaceAll("/alone", "/both"));
    // Every model and every other stage is made by one of the two, and each of them makes some.
    const made = both.map(({ err }) => [...err.matchAll(/(\S+) +done/g)].map(([, name]) => name));
    assert(made.every((names) => names.some((name) => name.startsWith("train-"))), JSON.stringify(made));
    const [together, one] = [await hashes(`${folder}/both`), await hashes(`${folder}/alone`)];
    assertEquals(withoutTimes(together), withoutTimes(one));

    // A process that gathers results waits for one that looks whether a run is made, also for studies that nobody asked for.
    const { studies } = JSON.parse(await Deno.readTextFile(`${folder}/alone/studies.json`));
    assert(studies.length > 1 && studies[0].name !== "routers", "another study comes first");
    const results = await lockRun(`${folder}/both`, "results", "test");
    const again = taskCommand("reproduce", args("both")).spawn();
    let told = "";
    let looks: Hold | undefined;
    for await (const text of again.stderr.pipeThrough(new TextDecoderStream())) {
      told += text;
      if (looks || !told.includes('waits for "results"')) continue;
      looks = await lockRun(`${folder}/both`, "em-2-experts-seed-0-evaluation", "test");
      await results();
      setTimeout(looks, 2000);
    }
    assert(looks, told);
    const out = await new Response(again.stdout).text();
    assertEquals([(await again.status).code, out], [0, both[0].out], told);
  }));

Deno.test("a process makes the models of a run beside one that makes another of them, and waits for that one", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const [root, run] = [`${folder}/a`, "em-2-experts-seed-0"];
    const rates = ["--expert-rate", "--dense-rate", "--dense-steps-rate"].flatMap((flag) => [flag, "0.01"]);
    const other = await lockRun(root, `${run}-dense`, "test");
    const child = taskCommand("reproduce", [
      ...["--run", root, "--input", `${folder}/docs.jsonl`, ...SMALL, ...BRIEF, ...rates],
      ...["--study", "segments"],
    ], { stdout: "null" }).spawn();
    const isTrained = (name: string) => exists(`${root}/${run}/manifests/train-${name}.json`);
    let told = "";
    let trained: boolean[] | undefined;
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      told += text;
      if (trained || !told.includes(`waits for "${run}-dense"`)) continue;
      trained = await Promise.all(["expert-00", "expert-01", "dense-steps", "dense"].map(isTrained));
      await other();
    }
    assertEquals((await child.status).code, 0, told);
    assertEquals(trained, [true, true, true, false], told);
    assert(await isTrained("dense"));
    // A model that another study needs, too, is trained by its own rate, though the run is evaluated without it.
    const more = await task("train-switch", ["--run", `${root}/${run}`, "--switch-rate", "0.02"]);
    assertEquals(more.code, 0, more.err);
  }));

Deno.test("the study of partitioners searches rate and rounds of routers alike for both starts, once, and goes on after a kill", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    await Deno.writeTextFile(`${folder}/settings.json`, JSON.stringify({ rounds: 2, routerRate: 0.01 }));
    const searched = ["--rounds", "--router-rate"];
    const given = SMALL.filter((flag, i) => !searched.includes(flag) && !searched.includes(SMALL[i - 1]));
    const rates = ["--expert-rate", "--dense-rate", "--dense-steps-rate"].flatMap((flag) => [flag, "0.01"]);
    const args = () => [
      ...["--run", `${folder}/a`, "--input", `${folder}/docs.jsonl`, "--source-field", "source"],
      ...[...given, ...BRIEF, ...rates, "--config", `${folder}/settings.json`, "--study", "partitioners"],
    ];
    const child = taskCommand("reproduce", args(), { stdout: "null" }).spawn();
    let killed = "";
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) {
      killed += text;
      if (/em-2-experts-router-rate-\S+ started/.test(text)) sendSignal(child, "SIGKILL");
    }
    assertEquals((await child.status).signal, "SIGKILL", killed);
    const { code, err, out } = await task("reproduce", args());
    assertEquals(code, 0, err);
    assertStringIncludes(err, "search-expert-00-0.01 up to date");
    assertStringIncludes(out, "Routers that start from clusters");

    const { routers } = JSON.parse(await Deno.readTextFile(`${folder}/a/routers.json`));
    const searches: { routerRate: number; rounds: number; trials: Record<string, number>[] }[] = Object
      .values(routers);
    assertEquals(Object.keys(routers).map((recipe) => recipe.split(",")[0]), [
      "2 routers from clusters",
      "2 routers from random parts",
    ]);
    for (const { routerRate, rounds, trials } of searches) {
      const at = (of: Record<string, number>) =>
        trials.find((trial) => Object.entries(of).every(([name, value]) => trial[name] === value));
      const best = at({ routerRate, rounds })!;
      for (const more of [{ rounds: 2 * rounds }, { rounds: Math.round(rounds / 2) }]) {
        const other = at({ routerRate, ...more });
        if (other) assert(best.validationLoss <= other.validationLoss + 0.01, JSON.stringify(trials));
      }
      assert(trials.length >= 4 && trials.every(({ validationLoss }) => validationLoss > 0));
    }
    const { studies } = JSON.parse(await Deno.readTextFile(`${folder}/a/studies.json`));
    const { table } = studies.find(({ name }: { name: string }) => name === "partitioners");
    const together = (label: string) => label.endsWith("2 experts together");
    const isDense = (label: string) => label.startsWith("dense,");
    assertEquals(table.rows.filter(([label]: string[]) => together(label)).length, 1); // of clusters
    assertEquals(table.rows.filter(([label]: string[]) => isDense(label)).length, 3);
    const alone = table.rows.filter(([label]: string[]) => !together(label) && !isDense(label));
    const settings = alone.map((row: string[]) => row.at(-1));
    const wanted = searches.map(({ routerRate, rounds }) => `${routerRate} × ${rounds}`);
    assertEquals(settings, [
      ...[wanted[1], wanted[0], wanted[0], null, null, null],
      ...[wanted[1], wanted[0]], // with twice the experts
    ]);

    // Elsewhere nothing is left to make: what every run came to is noted.
    const plan = async (root: string, ...more: string[]) => {
      const all = ["--dry-run", "--json", ...more];
      return await task("reproduce", [...args().with(1, `${folder}/${root}`), ...all]);
    };
    const { pieces } = JSON.parse((await plan("b", "--from", `${folder}/a`)).out);
    assertEquals(pieces.filter(({ done }: { done: boolean }) => !done), []);
    // Runs of other settings are refused, and are none of a study that was not asked for.
    const other = ["--weight-decay", "0.3"];
    for (const refused of [await plan("a", ...other), await task("reproduce", [...args(), ...other])]) {
      assertEquals(refused.code, 2);
      assertStringIncludes(refused.err, "as --weight-decay must be what its config.json says: it is 0.3");
      assertStringIncludes(refused.err, `or remove "${folder}/a/em-2-experts`);
    }
    const run = `${folder}/a/ctbm-2-experts-seed-0`;
    const flags = { ...(await readRunConfiguration(run))!.configuration, partitioner: "em" };
    const [setup] = STUDIES.get("partitioners")!.setups(flags, 1).filter(({ name }) =>
      name.startsWith("ctbm")
    );
    const told = async (more: Partial<Configuration>) => {
      const asked = { sources: { flags: { ...flags, ...more } }, rates: {}, hashesOf: rememberHashes() };
      return await readOutcome(`${folder}/a`, setup, asked) !== undefined;
    };
    assertEquals([await told({}), await told({ weightDecay: 0.3 })], [true, false]);
    // Nor is a run whose evaluation lacks a model, or scored other weights of one.
    await Deno.remove(`${folder}/a/outcomes`, { recursive: true });
    const isThere = async (models: Searched[], choices = setup.choices) =>
      await readOutcome(`${folder}/a`, { ...setup, models, choices }, {
        ...{ sources: { flags }, rates: {}, hashesOf: rememberHashes() },
      }) !== undefined;
    assertEquals([await isThere(["experts"]), await isThere(["experts", "dense"])], [true, false]);
    // Nor one that was evaluated by other choices than those that are asked for.
    const chosen = [{}, { routeLengths: [4] }, { routeLengths: [3] }, { mix: [2, 3] }, { routeBy: "self" }];
    assertEquals(
      await Promise.all(chosen.map((choices) => isThere(["experts"], choices))),
      [true, true, false, false, false],
    );
    const path = `${folder}/a/${setup.name}/manifests/evaluate.json`;
    const { checksum: _, ...manifest } = JSON.parse(await Deno.readTextFile(path));
    manifest.inputs["expert-00"] = manifest.inputs["expert-01"];
    await Deno.writeTextFile(path, JSON.stringify(seal(manifest)));
    assertEquals(await isThere(["experts"]), false);
  }));

Deno.test("reproductions and studies warn of a processor where a GPU was to be expected, and stop where one is required", () =>
  inFolder(async (folder) => {
    const signal = AbortSignal.abort(new Error("enough"));
    const sources = { preset: "paper-335m" };
    type Options = Pick<RunOptions, "sources" | "requireGpu">;
    for (
      const work of [
        (options: Options, watch: RunWatch) => reproduce({ ...options, run: `${folder}/run` }, watch),
        (options: Options, watch: RunWatch) =>
          runStudies({ ...options, run: folder, studies: ["segments"] }, watch),
      ]
    ) {
      const events: RunEvent[] = [];
      const onEvent = (event: RunEvent) => void events.push(event);
      await assertRejects(() => work({ sources }, { onEvent, signal }), Error, "enough");
      const kinds = events.map((event) => event.type === "adapter" ? event.kind : event.type);
      const warned = events.some((event) =>
        event.type === "warning" && wordText(event.message).includes("takes weeks")
      );
      assertEquals(warned, kinds.includes("software"));
      if (!warned) continue;
      await assertRejects(
        () => work({ sources, requireGpu: true }, { onEvent, signal }),
        InputError,
        "as one is required",
      );
    }
  }));
