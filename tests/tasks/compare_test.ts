import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { EVALUATION } from "../../pipeline/graph/mod.ts";
import { writeComparedRun } from "../pipeline/report/comparison/support.ts";
import { inFolder, task, taskHere } from "./support.ts";

Deno.test("deno task compare prints tables, JSON and a page, and refuses with exit code 2 what it cannot compare", () =>
  inFolder(async (folder) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    await writeComparedRun(a, { sources: { code: 10 }, perplexity: 20 });
    await writeComparedRun(b, { settings: { partitioner: "ctbm" }, sources: { code: 12 } });
    await writeComparedRun(c, { tokens: [9, 9], settings: { seed: 1 } });

    const page = `${folder}/compare.html`;
    const reported = await task("compare", [a, b, "--output", page]);
    assertEquals([reported.code, reported.err], [0, ""]);
    for (
      const line of [
        /^setting +a +b\n--partitioner +em +ctbm$/m,
        /^a +\S+ +em +4 +3,251,200$/m,
        /^a +1,000 +0\.\d+ +4\.700 +0\.0300 +0\.6% +[\d.]+%$/m,
        /^a +64 +20\.00 +18\.00 to 22\.00 .* 3 of 3$/m,
        /^code +12,700 +10\.00 \* +12\.00$/m,
        /^4 +62\.00 +62\.00$/m,
        /^a +train-dense +out of date .*deno task train-dense --run /m,
        /^a +train-expert-00 and 3 more +out of date .*deno task train-expert .* --expert all/m,
      ]
    ) assertMatch(reported.out, line);
    assertStringIncludes(reported.out, `page: ${page}`);
    assertStringIncludes(await Deno.readTextFile(page), "2 SmallTalk runs side by side");

    const json = JSON.parse((await task("compare", [a, b, "--json"])).out);
    assertEquals(json.runs.map(({ wins }: { wins: number }) => wins), [3, 2]);
    assertEquals(json.settings, [{ setting: "partitioner", values: ["em", "ctbm"] }]);
    assertMatch(json.runs[0].lacks[0].command, /^deno task \S+ .*--run /);

    for (
      const [args, message] of [
        [[], /at least two must be named: none is named\n$/],
        [
          [a, `${folder}/none`],
          /must be a run folder: there is no such folder; run deno task partition/,
        ],
        [
          [a, b, "--output", "-"],
          /^error: Cannot write "-" as it must be a file: it is standard output; choose another --output\n$/,
        ],
        [
          [a, c],
          /must be the same: .*--text-seed 0 and 1; make one of them anew[^\n]*\n$/,
        ],
      ] as const
    ) {
      const { code, err } = await taskHere("compare", args);
      assertEquals(code, 2, err);
      assertMatch(err, message);
    }
  }));

Deno.test("a comparison refuses damaged documents, and says how they are made again", () =>
  inFolder(async (folder) => {
    const [a, b] = ["a", "b"].map((name) => `${folder}/${name}`);
    for (const run of [a, b]) await writeComparedRun(run, { documents: [1, 5, 9] });
    const path = `${b}/${EVALUATION}/evaluation.arrow`;
    const bytes = await Deno.readFile(path);
    for (const damage of ["flip", "gone"]) {
      if (damage === "gone") await Deno.remove(path);
      else await Deno.writeFile(path, bytes.with(bytes.length >> 1, bytes[bytes.length >> 1] ^ 4));
      const { code, err } = await taskHere("compare", [a, b]);
      assertEquals(code, 2, err);
      assertMatch(
        err,
        /^error: .*\/b\/evaluation\/result\/evaluation\.arrow.*; run deno task evaluate --run .*\n$/,
      );
    }
  }));
