import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { writeAtomic } from "../../../pipeline/run/files.ts";
import {
  checkPlace,
  configurationRemedy,
  partitionRemedy,
  partsAlone,
} from "../../../pipeline/stages/parts_alone.ts";
import { worded } from "../../../tasks/wording.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("partsAlone() tells parts that were copied out from a whole run", () =>
  inFolder(async (run) => {
    const part = (expert: string) => writeAtomic(`${run}/partition/${expert}/manifest.json`, "{}");
    assertEquals(await partsAlone(run), []);
    await checkPlace(run, "partition");
    assertEquals(worded(await partitionRemedy(run)), `run deno task partition --run ${run} first`);
    await part("expert-10");
    await part("expert-02");
    await Deno.mkdir(`${run}/partition/expert-03`);
    assertEquals(await partsAlone(run), [2, 10]);
    await writeAtomic(`${run}/manifests/train-expert-02.json`, "{}"); // trained there
    assertEquals(await partsAlone(run), [2, 10]);
    await assertRejects(
      () => checkPlace(run, "score"),
      InputError,
      "the parts of experts 2, 10 alone; choose another run",
    );
    assertEquals(
      worded(await partitionRemedy(run)).endsWith("name the whole run that they were copied from"),
      true,
    );
    assertEquals(
      worded(await configurationRemedy(run)).endsWith(
        "copy config.json and tokenizer.json from the run as well",
      ),
      true,
    );
    for (const path of ["manifests/split.json", "partition/manifest.json", "tokens/a"]) {
      await writeAtomic(`${run}/${path}`, "{}");
      assertEquals(await partsAlone(run), []);
      await Deno.remove(`${run}/${path.replace(/\/a$/, "")}`, { recursive: true });
    }
  }));
