import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { inFolder, task } from "./support.ts";

async function json(...args: string[]) {
  const { code, out, err } = await task("cost", [...args, "--json"]);
  assertEquals(code, 0, err);
  return JSON.parse(out);
}

Deno.test("cost prints Table 3, the paper's communication and the default configuration", async () => {
  const { code, out, err } = await task("cost", []);
  assertEquals([code, err], [0, ""]);
  assertMatch(
    out,
    /^1\.3B, E=32 .* 1770\.65 \/ 1770\.65 .* 18\.94 \/ 18\.94 +2\.81 \/ 2\.81 +0\.08 \/ 0\.08/m,
  );
  assertMatch(out, /^per router and exchange +5\.625 MB +5\.625 MB$/m);
  assertMatch(out, /^data-parallel dense, per node and step +10\.4 GB +10\.4 GB$/m);
  assertStringIncludes(out, "This configuration: E=4, S=128, M=64, V=1024");
  assert(!/NaN|undefined|Infinity/.test(out), out);
  assert(out.split("\n").every((line) => line.length <= 160));
});

Deno.test("cost --json takes preset, config, run and flags", () =>
  inFolder(async (folder) => {
    const { table, communication, cost } = await json("--preset", "paper-335m", "--experts", "8");
    assertEquals(table.length, 7);
    assertEquals(communication.counted, communication.printed);
    assertEquals([cost.mixture.experts, cost.mixture.expert.hidden, cost.mixture.steps], [8, 1024, 256_000]);
    await Deno.writeTextFile(
      `${folder}/config.json`,
      '{"configuration": {"expertLayers": 7}, "versions": {}}',
    );
    assertEquals((await json("--config", `${folder}/config.json`)).cost.mixture.expert.layers, 7);
    const ofRun = await json("--run", folder, "--flops", "2e12", "--utilisation", "0.5", "--recompute");
    assertEquals(ofRun.cost.mixture.expert.layers, 7);
    assertEquals(ofRun.cost.device, { flops: 2e12, utilisation: 0.5 });
    assert(ofRun.cost.flops.recomputed > 0);
  }));

Deno.test("cost refuses wrong usage with exit code 2 and one line", async () => {
  const cases: [string[], string][] = [
    [["--expert", "4"], "--expert is not, the nearest is --experts, but tasks"],
    [["--clip", "1"], "--clip is not"],
    [["--utilisation", "2"], "--utilisation as it must be a number from 0.000001 to 1: it is 2"],
    [["--flops", "fast"], '--flops as it must be a number from 1 to 1e+30: it is "fast"'],
    [["--micro-batch", "5"], "batch is 16, --micro-batch is 5"],
    [["--epochs", "2"], "name a --run that is tokenized"],
    [["--run", "nowhere"], "must hold a config.json"],
  ];
  for (const [args, text] of cases) {
    const { code, out, err } = await task("cost", args);
    assertEquals([code, out], [2, ""], `${args}: ${err}`);
    assertStringIncludes(err, text);
    assertMatch(err, /^error: [^\n]+\n$/);
  }
});
