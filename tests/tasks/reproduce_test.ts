import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { inFolder, ok, task } from "./support.ts";

Deno.test("reproduce --preset paper-335m without text says what a study takes of one device, and makes nothing", () =>
  inFolder(async (folder) => {
    const args = ["--study", "dense", "--preset", "paper-335m", "--run", `${folder}/studies`];
    const env = { SMALLTALK_CACHE: folder };
    const { out } = await ok(task("reproduce", args, { env }));
    assertMatch(out, /^a dry run, as the embedded text is too little/);
    assertMatch(out, /^em-8-experts-seed-0 +dense-compute +626\.65e18 +425 GiB +1\.1 years$/m);
    assertMatch(out, /^in all +6\.69e21 FLOPs and 11\.8 years of one device; /m);
    assertMatch(
      out,
      /^memory +at most 425 GiB, for dense-compute of .*; the device has 74\.5 GiB: take a smaller --micro-batch$/m,
    );
    const fitting = await ok(task("reproduce", [...args, "--micro-batch", "16"], { env }));
    assertMatch(fitting.out, /^memory +at most 74\.3 GiB, for dense-compute of \S+$/m);
    assertMatch(out, /^assumed: 1\.80e\+13 FLOP\/s .*, 30% of the 6\.00e\+13 of an NVIDIA H100/m);
    assertMatch(out, /^assumed: 80 GB \(74\.5 GiB\) of memory on one device$/m);
    const json = JSON.parse((await task("reproduce", [...args, "--json"], { env })).out);
    assertEquals([json.largest.job, json.device.name], ["dense-compute", "NVIDIA H100"]);
    assertStringIncludes(json.note, "a dry run");
    const asked = await task("reproduce", [...args, "--dry-run", "--flops", "1e14"], { env });
    assertMatch(asked.out, /^run /);
    assertMatch(asked.out, /^assumed: 4\.00e\+13 FLOP\/s are reached on one device$/m);
    assertEquals([...Deno.readDirSync(folder)], []);
    const denied = await task("reproduce", [
      ...args,
      "--dry-run=false",
      "--corpus-characters",
      "20000",
    ], {
      env,
    });
    assertEquals([denied.code, denied.out], [2, ""]);
    assertStringIncludes(denied.err, "Cannot train a tokenizer");
  }));
