import { assert, assertEquals } from "@std/assert";
import { readManifest, vouchedFiles, writeManifest } from "../../../pipeline/run/manifest.ts";
import { expertNames, keptWords } from "../../../pipeline/stages/names.ts";
import { partition } from "../../../pipeline/stages/partition.ts";
import { gpu } from "../../kernels/support.ts";
import { withPartition } from "./support.ts";

Deno.test({
  name: "expertNames() tells the experts of a run apart by its words, and partition() sums them up",
  ignore: gpu === null,
  fn: () =>
    withPartition(async (run, flags) => {
      const names = (await expertNames(run, await vouchedFiles(run)))!;
      const texts = names.map(({ terms }) => terms.map(({ text }) => text));
      const of = (word: string) => texts.findIndex((words) => words.includes(word));
      assert(of("gull") >= 0 && of("gull") !== of("await"), texts.join("; "));
      const { experts } = await partition({ run, sources: { flags }, gpu: gpu! });
      assertEquals(experts.map(({ words }) => words), texts);
      // The stage keeps them, so that they need not be read again; a run made before that has them read.
      const manifest = (await readManifest(run, "split"))!;
      assertEquals(manifest.result.words, texts);
      assertEquals(await keptWords(run), texts);
      const { words: _, ...result } = manifest.result;
      await writeManifest(run, manifest, { ...manifest, result });
      assertEquals(await keptWords(run), texts);
      await Deno.remove(`${run}/tokenizer.json`);
      assertEquals(await expertNames(run), null);
    }),
});
