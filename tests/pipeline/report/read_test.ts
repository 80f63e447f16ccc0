import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { readRun } from "../../../pipeline/report/read.ts";
import { manifestPath, writePages } from "../../../pipeline/run/manifest.ts";
import { inFolder } from "../../tasks/support.ts";
import { CLAIMS, evaluationOf, SHAPE, writeRun } from "./support.ts";

Deno.test("readRun() gives all that a run holds, experts by their ids and then the dense models", () =>
  inFolder(async (folder) => {
    const run = `${folder}/my run`;
    await writeRun(run, { ...SHAPE, experts: 11 });
    const record = await readRun(run);
    assertEquals([record.name, record.alone, record.rounds.length], ["my run", [], SHAPE.rounds]);
    assertEquals(record.partition!.parts.map(({ expert }) => expert), [...Array(11).keys()]);
    assertEquals(record.curves.map(({ model }) => model), [
      ...Array.from({ length: 11 }, (_, i) => `expert-${String(i).padStart(2, "0")}`),
      "dense",
      "dense-steps",
    ]);
    assertEquals(record.curves.map(({ expert }) => expert), [...Array(11).keys(), null, null]);
    assertEquals(record.curves[0].points.length, SHAPE.steps / 10);
    assertEquals(record.evaluation, evaluationOf({ ...SHAPE, experts: 11 }));
    assertEquals(
      record.reproduction,
      JSON.parse(
        JSON.stringify(CLAIMS),
        (key, value) => key === "validationLoss" && value === null ? Infinity : value,
      ),
    );
    assertEquals(Object.keys(record.manifests), ["tokenize"]);
  }));

Deno.test("readRun() gives null and empty lists for what is not there yet", () =>
  inFolder(async (run) => {
    await writeRun(run);
    for (const name of ["evaluation.json", "reproduction.json", "partition", "metrics"]) {
      await Deno.remove(`${run}/${name}`, { recursive: true });
    }
    const { rounds, partition, curves, evaluation, reproduction, manifests } = await readRun(run);
    assertEquals([rounds, partition, curves, evaluation, reproduction], [[], null, [], null, null]);
    assertEquals(Object.keys(manifests), ["tokenize"]);
  }));

Deno.test("readRun() names the file that is damaged, and how it is made again", () =>
  inFolder(async (run) => {
    const damages: [path: string, remedy: string][] = [
      ["evaluation.json", `run task "evaluate" with run "${run}", force`],
      ["reproduction.json", 'run task "reproduce"'],
      ["metrics/rounds.jsonl", 'run task "train-routers"'],
      ["metrics/expert-02.jsonl", 'run task "train-expert" with expert 2'],
      ["metrics/dense-steps.jsonl", 'run task "train-dense" with match "steps"'],
      ["partition/manifest.json", 'run task "split"'],
    ];
    for (const [path, remedy] of damages) {
      await writeRun(run);
      await Deno.writeTextFile(`${run}/${path}`, '{"half": \n');
      const error = await assertRejects(() => readRun(run), InputError);
      assertEquals([error.where, wordText(error.remedy!).startsWith(remedy)], [`${run}/${path}`, true], path);
    }
  }));

Deno.test("readRun() checks claims by the manifest of their pages, and heeds none of its own page", () =>
  inFolder(async (run) => {
    await writeRun(run);
    const text = await Deno.readTextFile(`${run}/reproduction.json`);
    await writePages(run, "reproduce", { "reproduction.json": text, "reproduction.md": "" });
    await Deno.writeTextFile(manifestPath(run, "report"), "{");
    assert((await readRun(run)).reproduction);
    await Deno.writeTextFile(`${run}/reproduction.json`, text + "\n");
    await assertRejects(() => readRun(run), InputError, "it must be as it was made");
    await Deno.writeTextFile(manifestPath(run, "reproduce"), "{");
    const error = await assertRejects(() => readRun(run), InputError, "must be a stage's manifest");
    assertEquals(wordText(error.remedy!), `run task "reproduce" with run "${run}" again, or remove it`);
  }));

Deno.test("readRun() refuses what is no run", () =>
  inFolder(async (folder) => {
    await assertRejects(() => readRun(`${folder}/none`), InputError, "there is no such folder");
    await assertRejects(() => readRun(folder), InputError, "it has no config.json");
    await Deno.writeTextFile(`${folder}/file`, "");
    await assertRejects(() => readRun(`${folder}/file`), InputError, "it is a file");
  }));
