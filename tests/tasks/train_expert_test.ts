import { assertEquals } from "@std/assert";
import { inFolder, ok, smallRunAt, taskHere, trainingFlags, whatIsMade } from "./support.ts";

Deno.test("train-expert --expert all --check trains an expert again whose manifest is damaged, and no other", () =>
  inFolder(async (folder) => {
    const { run } = await smallRunAt(`${folder}/run`);
    const train = ["--run", run, "--expert", "all"];
    await ok(taskHere("train-expert", [...train, ...trainingFlags(4)]));
    const made = await whatIsMade(run);
    const other = Deno.statSync(`${run}/experts/expert-00`).ino;
    for (const text of ["{}", ""]) {
      await Deno.writeTextFile(`${run}/experts/expert-01/manifest.json`, text);
      await ok(taskHere("train-expert", [...train, "--check"]));
      assertEquals(await whatIsMade(run), made);
    }
    assertEquals(Deno.statSync(`${run}/experts/expert-00`).ino, other);
  }));
