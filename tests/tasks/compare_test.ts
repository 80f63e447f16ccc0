import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { writeComparedRun } from "../pipeline/comparison/support.ts";
import { inFolder, task } from "./support.ts";

Deno.test("deno task compare prints tables, JSON and a page, and refuses with exit code 2 what it cannot compare", async () => {
  await inFolder(async (folder) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    await writeComparedRun(a, { sources: { code: 10 }, perplexity: 20 });
    await writeComparedRun(b, { settings: { partitioner: "ctbm" }, sources: { code: 12 } });
    await writeComparedRun(c, { tokens: [9, 9], settings: { seed: 1 } });

    const page = `${folder}/compare.html`;
    const told = await task("compare", [a, b, "--output", page]);
    assertEquals([told.code, told.err], [0, ""]);
    assertMatch(told.out, /^setting +a +b\n--partitioner +em +ctbm\n/);
    assertMatch(told.out, /^a +em +4 +1,000 +0\.358 +4\.700 +0\.0300 +0\.6% +3,251,200$/m);
    assertMatch(told.out, /^a +64 +20\.00 +18\.00 to 22\.00 .* 3 of 3$/m);
    assertMatch(told.out, /^code +12,700 +10\.00 \* +12\.00$/m);
    assertMatch(told.out, /^a: train-dense is missing: run deno task train-dense --run /m);
    assertStringIncludes(told.out, `page: ${page}`);
    assertStringIncludes(await Deno.readTextFile(page), "2 SmallTalk runs side by side");

    const json = JSON.parse((await task("compare", [a, b, "--json"])).out);
    assertEquals(json.runs.map(({ wins }: { wins: number }) => wins), [3, 2]);
    assertEquals(json.settings, [{ setting: "partitioner", values: ["em", "ctbm"] }]);
    const { command } = json.runs[0].lacks[0];
    assertMatch(command, /^deno task \S+ .*--run /);

    for (
      const [args, message] of [
        [[], /^error: Cannot compare runs as at least two must be named: none is named\n$/],
        [[a, a], /is named twice\n$/],
        [
          [a, `${folder}/none`],
          /as it must be a run folder: there is no such folder; run deno task partition/,
        ],
        [[a, b, "--output", "-"], /^error: Cannot write the page as --output must name a file: it is -\n$/],
        [
          [a, c],
          /held-out tokens must be the same: .*--text-seed 0 and 1; .*deno task partition with the same --text-seed\n$/,
        ],
      ] as const
    ) {
      const { code, out, err } = await task("compare", [...args]);
      assertEquals([code, out], [2, ""], err);
      assertMatch(err, message);
    }
  });
});
