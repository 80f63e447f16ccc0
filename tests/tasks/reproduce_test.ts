import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { inFolder, ok, task } from "./support.ts";

Deno.test("reproduce --preset paper-335m without text says what a study takes, per device and in all, and makes nothing", () =>
  inFolder(async (folder) => {
    const args = ["--study", "dense", "--preset", "paper-335m", "--run", `${folder}/studies`];
    const env = { SMALLTALK_CACHE: folder };
    const { out } = await ok(task("reproduce", args, { env }));
    assertMatch(out, /^a dry run, as the embedded text is too little/);
    assertMatch(out, /^em-8-experts-seed-0 +dense-compute +626\.65e18 +74\.3 GiB +1\.1 years$/m);
    assertMatch(out, /^in all +6\.69e21 FLOPs/m);
    assertMatch(out, /^one device +11\.8 years$/m);
    assertMatch(out, /^11 devices +1\.67 years: /m);
    assertMatch(
      out,
      /^each device +at most 74\.3 GiB .* dense-compute .* with --micro-batch 16 \(425 GiB /m,
    );
    assertMatch(out, /^assumed: 1\.80e\+13 FLOP\/s .*, 30% of the 6\.00e\+13 of an NVIDIA H100/m);
    assertMatch(out, /^assumed: 80 GB \(74\.5 GiB\) of memory on one device$/m);
    const json = JSON.parse((await task("reproduce", [...args, "--json"], { env })).out);
    assertEquals([json.devices, json.largest.microBatch, json.device.name], [
      11,
      16,
      "NVIDIA H100",
    ]);
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
