import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { report } from "../../../../pipeline/report/report.ts";
import { lockRun } from "../../../../pipeline/run/lock.ts";
import { outOfDateSection } from "../../../../pipeline/report/sections/out_of_date.ts";
import { words } from "../../../../tasks/wording.ts";
import { copyFolder, inFolder, ROOT } from "../../../tasks/support.ts";

Deno.test("outOfDateSection() names stages, why, and what makes them anew; nothing where all is up to date", () => {
  assertEquals(outOfDateSection([]), []);
  const [{ lead }] = outOfDateSection([{
    stages: ["train-expert-00", "train-expert-01"],
    state: "out of date",
    because: "steps was 6, it is <7>",
    command: { task: "train-expert", with: { run: "runs/a", expert: "all" } },
  }], words);
  const text = lead.map((part) => part.text).join("");
  for (
    const part of ["train-expert-00 and 1 more", "out of date", "steps was 6, it is &lt;7&gt;", "--expert"]
  ) {
    assertStringIncludes(text, part);
  }
});

Deno.test("report() says that an evaluation is no longer of the run, on the page and in its result", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    copyFolder(`${ROOT}fixtures/runs/format-1`, run); // its evaluation has an earlier revision
    const { output, outOfDate } = await report({ run, samples: 0, words });
    assertEquals(outOfDate, [{ part: "evaluate", command: `deno task evaluate --run ${run}` }]);
    const page = await Deno.readTextFile(output);
    assertStringIncludes(page, 'id="out-of-date"');
    assertStringIncludes(page, "revision 1 made it");
    await Deno.remove(`${run}/manifests/evaluate.json`); // as where a new evaluation was stopped
    assertEquals((await report({ run, samples: 0, words })).outOfDate.map(({ part }) => part), ["evaluate"]);
    const release = await lockRun(run, "evaluate", "evaluate", { makes: "evaluate" });
    assertEquals((await report({ run, samples: 0, words })).outOfDate.map(({ part }) => part), ["evaluate"]);
    assertStringIncludes(await Deno.readTextFile(output), "being made");
    await release();
    assert(page.indexOf('id="out-of-date"') < page.indexOf('id="evaluation"'));
  }));
