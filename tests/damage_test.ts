import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { openGpu } from "../kernels/device/gpu.ts";
import { wordText } from "../kernels/errors.ts";
import { askRun, evaluateRun, generate, partition, report, trainDense } from "../mod.ts";
import { trainExpert, verifyRun } from "../mod.ts";
import { describe, exitCode } from "../tasks/cli/errors.ts";
import { SMALL_SETTINGS } from "./pipeline/run/support.ts";
import {
  copyFolder,
  flip,
  inFolder,
  lastingFolder,
  ok,
  smallCorpus,
  task,
  whatIsMade,
  writeQuestions,
} from "./tasks/support.ts";

const TRAINING = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 8,
};
const gpu = await openGpu();
const folder = await lastingFolder();
const base = `${folder}/base`;
await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
writeQuestions(`${folder}/data`);
const flags = { ...SMALL_SETTINGS, ...TRAINING, holdout: 0.2, input: [`${folder}/docs.jsonl`] };
const asked = { tasks: ["arc_easy"], data: `${folder}/data`, resamples: 5 };
await partition({ run: base, gpu, sources: { flags } });
for (const expert of [0, 1]) await trainExpert(expert, { run: base, gpu });
await trainDense("batch", { run: base, gpu });
await evaluateRun({ run: base, gpu, resamples: 5 });
await askRun({ run: base, gpu, ...asked });
await report({ run: base });
const made = await whatIsMade(base);

/** Runs a test in a copy of the finished run. */
const inRun = (test: (run: string) => Promise<void>) =>
  inFolder(async (folder) => {
    copyFolder(base, `${folder}/run`);
    await test(`${folder}/run`);
  });

type Reader = (run: string) => Promise<unknown>;
const train: Reader = (run) => trainExpert(0, { run, gpu });
const evaluate: Reader = (run) => evaluateRun({ run, gpu, resamples: 5 });
const read: Reader = async (run) =>
  await Array.fromAsync(await generate({ run, gpu, expert: 1, prompt: "The", maxNewTokens: 2 }));

/** A file of each kind, who reads it, and what must be gone, so that it is read. */
const READERS: [file: string, reader: Reader, gone?: string][] = [
  ["partition/expert-00/train-00000.arrow", train, "experts/expert-00"],
  ["tokenizer/manifest.json", train],
  ["experts/expert-01/model.safetensors", read],
  ["dense/model.safetensors", evaluate, "evaluation"],
  ["evaluation/dense/nll.f32", evaluate, "evaluation/result"],
  ["zero-shot/arc_easy/arc_easy.json", (run) => report({ run })],
];

for (const [file, reader, gone] of READERS) {
  Deno.test(`one bit of ${file}: a line that names it and the command that mends it`, () =>
    inRun(async (run) => {
      await flip(`${run}/${file}`);
      if (gone) await Deno.remove(`${run}/${gone}`, { recursive: true });
      const error = await reader(run).then(
        () => assert(false, "nothing was refused"),
        (error) => error,
      );
      assertEquals(exitCode(error), 2, String(error));
      const line = await describe(error, { run });
      assertMatch(line, new RegExp(`^error: Cannot [^\n]*${run}/${file}[^\n]*$`));
      const [, name, args] = /run deno task (\S+) ([^\n]*--check[^\n]*)$/.exec(line) ?? [];
      assert(name, line);
      const data = name === "zero-shot" ? ["--data", asked.data] : [];
      await ok(task(name, [...args.split(" "), ...data]));
      await train(run); // what was gone
      await evaluate(run);
      assertEquals(await whatIsMade(run), made);
    }));
}

Deno.test("one bit of a report is found, and the report is made again", () =>
  inRun(async (run) => {
    await flip(`${run}/report/page/report.html`);
    assertEquals((await verifyRun(run)).problems.map(({ file }) => file), [
      "report/page/report.html",
    ]);
    await report({ run });
    assertEquals((await verifyRun(run)).problems, []);
  }));

Deno.test("a manifest that cannot be read is an error, also with check, and removes nothing", () =>
  inRun(async (run) => {
    await Deno.remove(`${run}/assignments/all/manifest.json`);
    await Deno.mkdir(`${run}/assignments/all/manifest.json`);
    const { "assignments/all/manifest.json": _, ...rest } = made;
    await assertRejects(() => partition({ run, gpu, check: true }), Deno.errors.IsADirectory);
    assertEquals(await whatIsMade(run), rest);
  }));

Deno.test("a config.json that is edited or damaged is refused, with both values", () =>
  inRun(async (run) => {
    const path = `${run}/config.json`;
    const text = await Deno.readTextFile(path);
    await Deno.writeTextFile(path, text.replace(/"rounds": 3/, '"rounds": 4'));
    const { code, err } = await task("train-expert", ["--run", run, "--expert", "0"]);
    assertEquals(code, 2);
    assertMatch(
      err,
      /^error: [^\n]*config\.json[^\n]*--rounds is 4, "[^"]+" was made with 3; [^\n]*--force\n$/,
    );
    await Deno.writeTextFile(path, text.slice(0, -9));
    const error = await partition({ run, gpu }).then(() => null, (error) => error);
    assertMatch(
      await describe(error, { run }),
      new RegExp(`^error: [^\n]*"${path}"[^\n]*; copy it again[^\n]*$`),
    );
  }));

Deno.test("an edited config.json that --force accepts is the run's, and verify names what it did not make", () =>
  inRun(async (run) => {
    const path = `${run}/config.json`;
    const text = await Deno.readTextFile(path);
    const edit = (rounds: number) =>
      Deno.writeTextFile(path, text.replace(/"rounds": \d/, `"rounds": ${rounds}`));
    await edit(4);
    await ok(task("partition", ["--run", run, "--force"]));
    const { out } = await ok(task("status", ["--run", run]));
    assertMatch(out, /--rounds 4/);
    assertMatch(out, /train-routers +up to date/);
    assert((await verifyRun(run)).problems.every(({ file }) => !/^(config|part)/.test(file)));
    await edit(3);
    const init = `${run}/experts/expert-00`; // each model may begin elsewhere
    await trainDense("steps", { run, gpu, force: true, sources: { flags: { init } } });
    const { problems } = await verifyRun(run);
    assertEquals(
      problems.filter(({ what }) => wordText(what).includes("config.json"))
        .map(({ file, what }) => [file, wordText(what)]),
      [[
        "partitioner/manifest.json",
        "it must be made by the settings of config.json: rounds is 3, it was made with 4",
      ]],
    );
  }));

Deno.test("a damaged checkpoint is passed over for an older one with a warning, to the same bytes", () =>
  inRun(async (run) => {
    await Deno.remove(`${run}/experts/expert-00`, { recursive: true });
    const stop = new AbortController();
    const onEvent = (event: { type: string; done?: number }) =>
      event.type === "progress" && event.done === 6 && stop.abort();
    const options = { run, gpu, checkpointEvery: 2 };
    await assertRejects(
      () => trainExpert(0, options, { signal: stop.signal, onEvent }),
      DOMException,
    );
    const [{ name }] = Deno.readDirSync(`${run}/scratch`);
    const scratch = `${run}/scratch/${name}`;
    const steps = [...Deno.readDirSync(scratch)].map(({ name }) => name).filter((name) =>
      /s$/.test(name)
    )
      .sort();
    assert(steps.length >= 2, steps.join());
    await flip(`${scratch}/${steps.at(-1)}`);
    const reported: string[] = [];
    await trainExpert(0, options, {
      onEvent: (event) => void reported.push(JSON.stringify(event)),
    });
    assertMatch(
      reported.join("\n"),
      new RegExp(`warning.*${steps.at(-1)}.*goes on from the one before`),
    );
    assertEquals(await whatIsMade(run), made);
  }));
