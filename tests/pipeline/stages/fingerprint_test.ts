import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { comparePartition, fingerprintOf } from "../../../pipeline/stages/fingerprint.ts";
import { partition } from "../../../pipeline/stages/partition.ts";
import { gpu } from "../../kernels/support.ts";
import { inFolder } from "../../tasks/support.ts";
import { withPartition } from "./support.ts";

Deno.test({
  name: "fingerprintOf() hashes shards and partitioner as sha256sum does, wherever the partitioner lies",
  ignore: gpu === null,
  fn: () =>
    withPartition((run, flags) =>
      inFolder(async (folder) => {
        const { sha256, files } = await fingerprintOf(run);
        assert(files["partitioner/partitioner.json"] && files["partition/expert-01/train-00000.arrow"]);
        const command = `find partition partitioner -type f ! -name manifest.json | LC_ALL=C sort | ` +
          `xargs sha256sum | sha256sum`;
        const shell = new Deno.Command("sh", { args: ["-c", command], cwd: run });
        assertEquals(new TextDecoder().decode((await shell.output()).stdout).slice(0, 64), sha256);

        const [there, routers] = [`${folder}/there`, `${folder}/partitioner`];
        const copy = new Deno.Command("cp", { args: ["-r", `${run}/partitioner`, routers] });
        assert((await copy.output()).success);
        const sources = { flags: { ...flags, routers, tokenizer: `${run}/tokenizer.json` } };
        const { sha256: same, stages } = await partition({ run: there, sources, gpu: gpu! });
        assertEquals(stages.map(({ state }) => state), Array(6).fill("run"));
        assert(stages.every(({ seconds }) => seconds > 0));
        assertEquals(Object.keys((await fingerprintOf(there)).files), Object.keys(files));
        assertEquals(await comparePartition(there, same), []);
      })
    ),
});

Deno.test({
  name: "comparePartition() finds the same bytes the same, and names the files that differ",
  ignore: gpu === null,
  fn: () =>
    withPartition((run) =>
      inFolder(async (folder) => {
        const here = await fingerprintOf(run);
        const written = async (change: (document: typeof here) => void) => {
          const document = structuredClone(here);
          change(document);
          await Deno.writeTextFile(`${folder}/there.json`, JSON.stringify(document));
          return await comparePartition(run, `${folder}/there.json`);
        };
        assertEquals(await comparePartition(run, here.sha256), []);
        assertEquals(await written(() => {}), []);
        assertEquals(await comparePartition(run, `${run}/partition/manifest.json`), []);

        const other = "0".repeat(64);
        const [root, ...more] = await comparePartition(run, other);
        assertEquals(more, []);
        assertStringIncludes(wordText(root.what), "its root hash must be 000000000000…: it is");
        const file = "partition/expert-00/train-00000.arrow";
        const found = await written((document) => {
          document.sha256 = other;
          document.files[file].sha256 = other;
          document.files["partition/expert-02/train-00000.arrow"] = { bytes: 1, sha256: other };
          document.versions.deno = "1.0.0";
        });
        assertEquals(found.map(({ file }) => file), [
          "partition",
          file,
          "partition/expert-02/train-00000.arrow",
        ]);
        assertStringIncludes(wordText(found[2].what), "it is not there");
        assertStringIncludes(wordText(found[0].remedy), "deno 1.0.0");

        const manifest = JSON.parse(await Deno.readTextFile(`${run}/partition/manifest.json`));
        manifest.parts[1].sha256 = other;
        manifest.lineage.routers = other;
        await Deno.writeTextFile(`${folder}/manifest.json`, JSON.stringify(manifest));
        const parts = await comparePartition(run, `${folder}/manifest.json`);
        assertEquals(parts.map(({ file }) => file), ["partition/expert-01", "partitioner"]);

        await Deno.writeTextFile(`${folder}/else.json`, "{}");
        await assertRejects(
          () => comparePartition(run, `${folder}/else.json`),
          InputError,
          "printed as JSON",
        );
        await assertRejects(() => comparePartition(folder, other), InputError, "must hold a partition");
      })
    ),
});
