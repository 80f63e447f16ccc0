import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertMatch,
  assertStringIncludes,
} from "@std/assert";
import { writeRunConfiguration } from "../../pipeline/graph/configuration.ts";
import { defaultConfiguration } from "../../pipeline/settings/configuration.ts";
import { inFolder, ok, refused, taskHere } from "./support.ts";

async function json(...args: string[]) {
  const { out } = await ok(taskHere("cost", [...args, "--json"]));
  return JSON.parse(out);
}

Deno.test("cost prints the default configuration, and with --paper Table 3 and the paper's communication", async () => {
  assertMatch(
    (await taskHere("cost", [])).out,
    /^This configuration: E=4(?=[^]*router)(?![^]*Table 3)/,
  );
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
    assertEquals([cost.mixture.experts, cost.mixture.expert.hidden, cost.mixture.steps], [
      8,
      1024,
      256_000,
    ]);
    await writeRunConfiguration(folder, { ...defaultConfiguration(), expertLayers: 7 });
    assertEquals((await json("--config", `${folder}/config.json`)).cost.mixture.expert.layers, 7);
    assertMatch((await taskHere("cost", ["--run", folder])).out, new RegExp(`^${folder}: E=`));
    const ofRun = await json(
      "--run",
      folder,
      "--flops",
      "2e12",
      "--utilisation",
      "0.5",
      "--recompute",
    );
    assertEquals(ofRun.cost.mixture.expert.layers, 7);
    assertEquals(ofRun.cost.device, { flops: 2e12, utilisation: 0.5 });
    assert(ofRun.cost.flops.recomputed > 0);
  }));

Deno.test("cost --cluster takes experts, machines, tokens and a preset, and warns of folders with very many files", async () => {
  const flags =
    "--cluster --experts 8 --machines 10 --corpus-tokens 1e11 --preset paper-1.3b --flops 1e13"
      .split(" ");
  const { out } = await ok(taskHere("cost", [...flags, "--json"]));
  const [plan, ...others] = JSON.parse(out);
  assertEquals(others, []);
  assertEquals([plan.experts, plan.machines, plan.tokens, plan.flops], [8, 10, 1e11, 4e12]);
  const text = await taskHere("cost", [
    ...flags.filter((word) => word !== "1e11" && word !== "--corpus-tokens"),
    "--corpus-tokens",
    "1e12",
  ]);
  assertStringIncludes(
    text.out,
    "tokenize has 119,006 entries in a folder: larger blocks make fewer",
  );
  // Narrow routers take processors longer, by the formula that is reported.
  const scoring = async (...device: string[]) => {
    const { out } = await taskHere("cost", [
      ..."--cluster --preset small --experts 4 --json".split(" "),
      ...device,
    ]);
    return JSON.parse(out)[0].stages.find(({ name }: { name: string }) => name === "score")
      .computeSeconds;
  };
  const [processor, card] = [
    await scoring("--flops", "1e12", "--utilisation", "1"),
    await scoring("--flops", "1e13", "--utilisation", "0.1"),
  ];
  assertAlmostEquals(processor / card, 16 * (16 + 60) / (31 * 16), 1e-9);
  await refused(
    taskHere("cost", [
      ...flags.filter((word) => word !== "1e11" && word !== "--corpus-tokens"),
      "--corpus-tokens",
      "1000",
    ]),
    "--corpus-tokens is 1000",
  );
  for (
    const [flag, value] of [["--machines", "5"], ["--corpus-tokens", "1e9"], ["--disk-rate", "1e9"]]
  ) {
    const alone = await taskHere("cost", [flag, value]);
    assertEquals([alone.code, alone.out], [2, ""]);
    assertStringIncludes(alone.err, `--cluster must be given with ${flag}: it is not`);
  }
  // It would count nothing of that run.
  const ofRun = await taskHere("cost", [...flags, "--run", "nowhere"]);
  assertEquals([ofRun.code, ofRun.out], [2, ""]);
  assertStringIncludes(ofRun.err, "--cluster must be given without --run: both are given");
});
