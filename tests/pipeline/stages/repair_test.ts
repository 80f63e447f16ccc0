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
    assertEquals(
      await repair(`${run}/first/first.txt`),
      "run deno task first --run RUN --check, or copy the file again",
    );
    assertEquals(await repair(`${run}/first/gone.txt`), "run deno task partition --run RUN first");
    assertEquals(
      await repair(`${run}/manifests/first.json`),
      "run deno task first --run RUN --force, or copy the file again",
    );
    assertEquals(
      await repair(`${run}/experts/model.safetensors`),
      "run deno task train-expert --run RUN --expert 3 first",
    );
    assertEquals(await repair(`${run}/mine.txt`), undefined);
    assertEquals(await repair("/none/at/all.arrow"), undefined);
  });
});
