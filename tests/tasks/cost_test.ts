import { assert, assertEquals, assertMatch } from "@std/assert";
import { writeRunConfiguration } from "../../pipeline/run/configuration.ts";
import { defaultConfiguration } from "../../pipeline/settings/configuration.ts";
import { inFolder, taskHere } from "./support.ts";

async function json(...args: string[]) {
  const { code, out, err } = await taskHere("cost", [...args, "--json"]);
  assertEquals(code, 0, err);
  return JSON.parse(out);
}

Deno.test("cost prints the default configuration, and with --paper Table 3 and the paper's communication", async () => {
  assertMatch((await taskHere("cost", [])).out, /^This configuration: E=4(?=[^]*router)(?![^]*Table 3)/);
  assertMatch(
    (await taskHere("cost", ["--partitioner", "source"])).out,
    /^This configuration: E=4(?![^]*router)/,
  );
  const { code, out, err } = await taskHere("cost", ["--paper"]);
  assertEquals([code, err], [0, ""]);
  assertMatch(
    out,
    /^1\.3B, E=32 .* 1770\.65 \/ 1770\.65 .* 18\.94 \/ 18\.94 +2\.81 \/ 2\.81 +0\.08 \/ 0\.08/m,
  );
  assertMatch(out, /^per router and exchange +5\.625 MB +5\.625 MB$/m);
  assertMatch(out, /^data-parallel dense, per node and step +10\.4 GB +10\.4 GB$/m);
  assertMatch(out, /^This configuration: E=4, S=128, M=64, V=1024$/m);
  assert(!/NaN|undefined|Infinity/.test(out), out);
  assert(out.split("\n").every((line) => line.length <= 160));
});

Deno.test("cost --json takes preset, config, run and flags", () =>
  inFolder(async (folder) => {
    const { table, communication, cost } = await json("--preset", "paper-335m", "--experts", "8");
    assertEquals(table.length, 7);
    assertEquals(communication.counted, communication.printed);
    assertEquals([cost.mixture.experts, cost.mixture.expert.hidden, cost.mixture.steps], [8, 1024, 256_000]);
    await writeRunConfiguration(folder, { ...defaultConfiguration(), expertLayers: 7 });
    assertEquals((await json("--config", `${folder}/config.json`)).cost.mixture.expert.layers, 7);
    assertMatch((await taskHere("cost", ["--run", folder])).out, new RegExp(`^${folder}: E=`));
    const ofRun = await json("--run", folder, "--flops", "2e12", "--utilisation", "0.5", "--recompute");
    assertEquals(ofRun.cost.mixture.expert.layers, 7);
    assertEquals(ofRun.cost.device, { flops: 2e12, utilisation: 0.5 });
    assert(ofRun.cost.flops.recomputed > 0);
  }));
