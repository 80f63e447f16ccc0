import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { readManifest, splitNeed } from "../../../pipeline/graph/node.ts";
import { partitionGraph } from "../../../pipeline/run/plan.ts";
import { flip, inFolder } from "../../tasks/support.ts";
import { makeSmall, rootHash, smallSettings, writeTexts } from "./support.ts";

Deno.test("whoever reads a flipped file first refuses it by name or comes to the same, and with check it is made again", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    await writeTexts(`${folder}/text`, 6);
    const settings = smallSettings(`${folder}/text`, {
      partitioner: "random",
      blockBytes: 20_000,
      holdout: 0.3,
    });
    await makeSmall(run, settings);
    const whole = await rootHash(run, settings);
    const { nodes } = await partitionGraph(run, settings);
    let refused = 0;
    for (const { name } of nodes) {
      const readers = nodes.filter(({ needs }) =>
        needs.some((need) => splitNeed(need).name === name)
      );
      for (const file of Object.keys((await readManifest(`${run}/${name}`))!.files)) {
        const path = `${run}/${name}/${file}`;
        const before = await flip(path);
        for (const reader of readers.slice(0, 3)) {
          await Deno.remove(`${run}/${reader.name}`, { recursive: true }).catch(() => {});
          const made = await makeSmall(run, settings, {
            wanted: (node) => node.name === reader.name,
          })
            .then(() => undefined, (error) => error);
          // It does not read the file, or what it came to is compared below.
          if (made === undefined) continue;
          assert(
            made instanceof InputError && made.message.includes(`${name}/${file}`),
            `${reader.name}: ${made}`,
          );
          refused++;
        }
        await makeSmall(run, settings, { check: true });
        assertEquals(await Deno.readFile(path), before, path);
        assertEquals(await rootHash(run, settings), whole);
      }
    }
    assert(refused >= 12, `${refused}`);
    const manifest = `${run}/tokenizer/manifest.json`;
    const before = await flip(manifest);
    await assertRejects(() => makeSmall(run, settings), InputError, manifest);
    await Deno.writeTextFile(`${run}/tokenizer/note.txt`, "mine");
    await makeSmall(run, settings, { check: true });
    assertEquals(await Deno.readFile(manifest), before);
    assertEquals(await Deno.readTextFile(`${run}/tokenizer/note.txt`), "mine");
  }));
