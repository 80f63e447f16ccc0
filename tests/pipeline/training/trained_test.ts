import { assertEquals } from "@std/assert";
import { isTrained } from "../../../pipeline/training/trained.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("isTrained() tells weights with a manifest, or that were put there, from those of a training that begins anew", async () => {
  await inFolder(async (run) => {
    const place = { name: "expert-00", folder: "experts/expert-00" };
    const folder = `${run}/${place.folder}`;
    const make = async (path: string) => await Deno.writeTextFile(path, "");
    for (const path of [`${folder}/checkpoints`, `${run}/metrics`, `${run}/manifests`]) {
      await Deno.mkdir(path, { recursive: true });
    }
    const [manifest, metrics] = [
      `${run}/manifests/train-expert-00.json`,
      `${run}/metrics/expert-00.jsonl`,
    ];
    assertEquals(await isTrained(run, place), false, "no weights");
    await make(`${folder}/model.safetensors`);
    assertEquals(await isTrained(run, place), false, "checkpoints of the one that begins anew");
    await make(manifest);
    assertEquals(await isTrained(run, place), true);
    await Deno.remove(manifest);
    await Deno.remove(`${folder}/checkpoints`);
    assertEquals(await isTrained(run, place), true, "put there");
    await make(metrics);
    assertEquals(await isTrained(run, place), false, "metrics of the one that begins anew");
  });
});
