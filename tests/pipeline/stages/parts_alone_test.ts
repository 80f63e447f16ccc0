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

Deno.test("what is no run becomes one by a partition where it is new, and is to be named instead where it is not", () =>
  inFolder(async (folder) => {
    const said = async (run: string) => worded(await partitionRemedy(run));
    const first = (run: string) => `run deno task partition --run ${run} first`;
    const [none, run, other] = ["none", "runs/a", "other"].map((name) => `${folder}/${name}`);
    assertEquals(await said(none), first(none));
    await writeAtomic(`${none}/locks/settings.json`, "{}"); // a process is just beginning
    assertEquals(await said(none), first(none));
    await writeAtomic(`${other}/notes.txt`, "");
    for (const place of [other, `${other}/notes.txt`]) {
      assertEquals(await said(place), "name the folder that deno task partition wrote");
    }
    await writeAtomic(`${run}/config.json`, "{}");
    await writeAtomic(`${run}/manifests/corpus.json`, "{}");
    assertEquals(await said(run), first(run)); // a run that is not partitioned yet
    assertEquals(await said(`${folder}/runs`), `name a run that lies in it, such as ${run}`);
    assertEquals(await said(`${run}/experts`), first(`${run}/experts`)); // it is not there
    await Deno.mkdir(`${run}/experts/expert-00`, { recursive: true });
    assertEquals(await said(`${run}/experts/expert-00`), `name the run that it lies in, ${run}`);
    await Deno.remove(`${run}/config.json`);
    const back = "copy config.json back, or run the same deno task partition with all its settings again";
    for (const place of [run, `${run}/`]) assertEquals(await said(place), back);
  }));
