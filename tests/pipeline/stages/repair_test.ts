import { assertEquals } from "@std/assert";
import { repairOf } from "../../../pipeline/stages/repair.ts";
import { worded } from "../../../tasks/wording.ts";
import { runAll, toyStage, withStages } from "./support.ts";

Deno.test("repairOf() says by which command a file of a run is made again", async () => {
  const model = toyStage("model", {
    onRequest: true,
    outputs: ["experts/"],
    command: { task: "train-expert", with: { expert: 3 } },
  });
  await withStages([toyStage("first"), model], async (run) => {
    await runAll(run);
    const repair = async (path: string) => {
      const text = await repairOf(path);
      return text === undefined ? undefined : worded(text).replaceAll(run, "RUN");
    };
    const [file, manifest] = [`${run}/first/first.txt`, `${run}/manifests/first.json`];
    for (const whole of [file, `${run}/first`, `${run}/first/`, manifest, `${file}, batch 0`]) {
      assertEquals(await repair(whole), undefined);
    }
    assertEquals(await repair(`${run}/first/gone.txt`), undefined); // the stage did not make it, nor would it now
    const bytes = await Deno.readTextFile(file);
    await Deno.writeTextFile(file, bytes.replace("[", "{"));
    const check = "run deno task first --run RUN --check, or copy the file again";
    assertEquals(await repair(file), check);
    assertEquals(await repair(`${file}, batch 0`), check);
    assertEquals(await repair(`${run}/first/`), check.replace("file", "folder"));
    assertEquals(await repair(`${run}/first/gone.txt`), undefined);
    await Deno.remove(file);
    assertEquals(await repair(file), "run deno task partition --run RUN first");
    await Deno.mkdir(file);
    assertEquals(await repair(file), "remove that folder and run deno task first --run RUN --check");
    await Deno.remove(file);
    await Deno.writeTextFile(file, bytes);
    await Deno.writeTextFile(manifest, "{");
    assertEquals(await repair(manifest), "run deno task first --run RUN --force, or copy the file again");
    await Deno.remove(manifest);
    assertEquals(await repair(file), "run deno task first --run RUN first");
    assertEquals(await repair(manifest), "run deno task partition --run RUN first");
    assertEquals(
      await repair(`${run}/experts/model.safetensors`),
      "run deno task train-expert --run RUN --expert 3 first",
    );
    assertEquals(await repair(`${run}/mine.txt`), undefined);
    assertEquals(await repair("/none/at/all.arrow"), undefined);
  });
});
