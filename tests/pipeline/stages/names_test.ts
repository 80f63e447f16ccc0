import { assert, assertEquals } from "@std/assert";
import { vouchedFiles } from "../../../pipeline/run/manifest.ts";
import { expertNames } from "../../../pipeline/stages/names.ts";
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
      await Deno.remove(`${run}/tokenizer.json`);
      assertEquals(await expertNames(run), null);
    }),
});
