import { assertAlmostEquals, assertEquals, assertStringIncludes } from "@std/assert";
import { taskHere } from "./support.ts";

Deno.test("cost --cluster takes experts, machines, tokens and a preset, and warns of folders with very many files", async () => {
  const flags = "--cluster --experts 8 --machines 10 --corpus-tokens 1e11 --preset paper-1.3b --flops 1e13"
    .split(" ");
  const { code, out, err } = await taskHere("cost", [...flags, "--json"]);
  assertEquals(code, 0, err);
  const [plan, ...others] = JSON.parse(out);
  assertEquals(others, []);
  assertEquals([plan.experts, plan.machines, plan.tokens, plan.flops], [8, 10, 1e11, 4e12]);
  const text = await taskHere("cost", [
    ...flags.filter((word) => word !== "1e11" && word !== "--corpus-tokens"),
    "--corpus-tokens",
    "1e12",
  ]);
  assertStringIncludes(text.out, "tokenize has 119,006 entries in a folder: larger blocks make fewer");
  // Narrow routers take processors longer, by the formula that is reported.
  const scoring = async (...device: string[]) => {
    const { out } = await taskHere("cost", [
      ..."--cluster --preset small --experts 4 --json".split(" "),
      ...device,
    ]);
    return JSON.parse(out)[0].stages.find(({ name }: { name: string }) => name === "score").computeSeconds;
  };
  const [processor, card] = [
    await scoring("--flops", "1e12", "--utilisation", "1"),
    await scoring("--flops", "1e13", "--utilisation", "0.1"),
  ];
  assertAlmostEquals(processor / card, 16 * (16 + 60) / (31 * 16), 1e-9);
  const refused = await taskHere("cost", [
    ...flags.filter((word) => word !== "1e11" && word !== "--corpus-tokens"),
    "--corpus-tokens",
    "1000",
  ]);
  assertEquals(refused.code, 2);
  assertStringIncludes(refused.err, "--corpus-tokens is 1000");
  for (const [flag, value] of [["--machines", "5"], ["--corpus-tokens", "1e9"], ["--disk-rate", "1e9"]]) {
    const alone = await taskHere("cost", [flag, value]);
    assertEquals([alone.code, alone.out], [2, ""]);
    assertStringIncludes(alone.err, `--cluster must be given with ${flag}: it is not`);
  }
  const ofRun = await taskHere("cost", [...flags, "--run", "nowhere"]); // it would count nothing of that run
  assertEquals([ofRun.code, ofRun.out], [2, ""]);
  assertStringIncludes(ofRun.err, "--cluster must be given without --run: both are given");
});
