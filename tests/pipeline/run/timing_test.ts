import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { recordTime } from "../../../pipeline/run/timing.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("recordTime() adds a line with its moment to the one file that holds times", () =>
  inFolder(async (run) => {
    const before = Date.now();
    await recordTime(run, { stage: "score", seconds: 1.5 });
    await recordTime(run, { stage: "assign", at: "overwritten" });
    const text = await Deno.readTextFile(`${run}/metrics/timing.jsonl`);
    assertEquals(text.at(-1), "\n");
    const lines = text.trim().split("\n").map((line) => JSON.parse(line));
    assertEquals(lines.map(({ stage, seconds }) => [stage, seconds]), [["score", 1.5], [
      "assign",
      undefined,
    ]]);
    for (const { at } of lines) {
      assert(Date.parse(at) >= before - 1 && Date.parse(at) <= Date.now() + 1, at);
    }
  }));

Deno.test("recordTime() follows no link out of the run", () =>
  inFolder(async (folder) => {
    await Deno.mkdir(`${folder}/run/metrics`, { recursive: true });
    await Deno.writeTextFile(`${folder}/mine`, "mine");
    await Deno.symlink(`${folder}/mine`, `${folder}/run/metrics/timing.jsonl`);
    await assertRejects(() => recordTime(`${folder}/run`, { stage: "score" }), InputError, "timing.jsonl");
    assertEquals(await Deno.readTextFile(`${folder}/mine`), "mine");
  }));
