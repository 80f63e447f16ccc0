import { assert, assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { ASSUMED_GPU, PLAIN_DEVICE } from "../../pipeline/cost/mod.ts";
import type { StudiesPlan } from "../../pipeline/reproduction/mod.ts";
import { planAlone, planDevice, studiesPlanText } from "../../tasks/study_plan.ts";
import { withCache } from "../pipeline/run/measured_support.ts";
import { inFolder, task } from "./support.ts";

const run = "em-2-experts-seed-0";
const GIB = 2 ** 30;
const PLAN: StudiesPlan = {
  pieces: [
    { run, piece: "partition", flops: 1e12, seconds: 100, memoryBytes: GIB, done: true },
    { run, piece: "expert-00", flops: 36e12, seconds: 3600, memoryBytes: 2 * GIB, done: false },
  ],
  ...{ flops: 36e12, seconds: 3600, shortest: 1800, devices: 2 },
  largest: {
    ...{ run, piece: "expert-00", memoryBytes: 2 * GIB },
    ...{ microBatch: 4, microBatchSet: 16, memoryBytesSet: 5 * GIB },
  },
  tooLarge: [],
  device: { flops: 1e11, utilisation: 0.1 },
  studies: [{
    study: "experts",
    pieces: 2,
    ...{ flops: 72e12, seconds: 7200, shortest: 3600, devices: 1, longest: 1800 },
  }],
  assumptions: ["one device"],
};

Deno.test("studiesPlanText() gives what every job takes on its device, every study, and all of it", () => {
  assertEquals(studiesPlanText(PLAN).split("\n"), [
    "run                  job           FLOPs   memory  time",
    "em-2-experts-seed-0  partition                     done",
    "em-2-experts-seed-0  expert-00  36.00e12  2.0 GiB  1 h",
    "",
    "study    jobs     FLOPs  one device  a device per job  at once  longest job",
    "experts     2  72.00e12         2 h               1 h        1  30 min",
    "",
    "in all         36.00e12 FLOPs, what studies share counted once",
    "one device     1 h",
    "2 devices      30 min: one for every job, so many work at once at most",
    "each device    at most 2.0 GiB of memory, for expert-00 of em-2-experts-seed-0, with --micro-batch 4 (5.0 GiB with 16 sequences at once, as it is set)",
    "",
    "assumed: one device",
  ]);
});

Deno.test("studiesPlanText() names the job that no micro-batch lets fit, and reports nothing of memory where all is made", () => {
  const tooLarge = [90, 100].map((size) => ({ run, piece: `switch ${size}`, memoryBytes: size * GIB }));
  const device = { ...PLAN.device, memoryBytes: 80 * GIB };
  const text = studiesPlanText({ ...PLAN, device, tooLarge }, "a note");
  assertMatch(text, /^a note\n\nrun /);
  assertStringIncludes(
    text,
    "too large      for 80.0 GiB: switch 100 of em-2-experts-seed-0 takes 100.0 GiB with one sequence at a time, the most of 2 such jobs\n",
  );
  const done = studiesPlanText({ ...PLAN, largest: null, devices: 0, flops: 0, seconds: 0, shortest: 0 });
  assertFalse(done.includes("each device"));
  const { largest } = PLAN;
  const asSet = studiesPlanText({ ...PLAN, largest: { ...largest!, microBatchSet: 4 } });
  assertMatch(asSet, /^each device +at most 2\.0 GiB of memory, for expert-00 of em-2-experts-seed-0$/m);
});

Deno.test("planAlone() is for presets of the paper without text, unless a dry run is asked for or refused", () => {
  const paper = { preset: "paper-335m" };
  assertStringIncludes(planAlone(paper, new Set())!, "--input");
  assert(planAlone({ preset: "paper-1.3b", flags: { experts: 4 } }, new Set(["run"])));
  for (
    const [sources, given] of [
      [paper, ["dryRun"]],
      [{ ...paper, flags: { input: ["a.txt"] } }, []],
      [{ ...paper, file: { input: ["a.txt"] } }, []],
      [{ preset: "small" }, []],
      [{}, []],
    ] as const
  ) {
    assertEquals(planAlone({ ...sources } as typeof paper, new Set(given)), undefined);
  }
});

Deno.test("planDevice() is a GPU for sizes of the paper, and what options say", () =>
  withCache(async () => {
    assertEquals(await planDevice({}, { preset: "paper-335m" }), ASSUMED_GPU);
    assertEquals(await planDevice({}, { preset: "small" }), PLAIN_DEVICE);
    const flops = { flops: 9e12 };
    assertEquals(await planDevice(flops, { preset: "paper-335m" }), { ...PLAIN_DEVICE, ...flops });
    const share = await planDevice({ utilisation: 0.5 }, { preset: "paper-335m" });
    assertEquals(share, { ...ASSUMED_GPU, utilisation: 0.5 });
  }));

Deno.test("reproduce --preset paper-335m without text says what a study takes, per device and in all, and makes nothing", () =>
  inFolder(async (folder) => {
    const args = ["--study", "dense", "--preset", "paper-335m", "--run", `${folder}/studies`];
    const env = { SMALLTALK_CACHE: folder };
    const { code, out, err } = await task("reproduce", args, { env });
    assertEquals(code, 0, err);
    assertMatch(out, /^a dry run, as the embedded text is too little/);
    assertMatch(out, /^em-8-experts-seed-0 +dense-compute +626\.65e18 +74\.3 GiB +1\.1 years$/m);
    assertMatch(out, /^in all +6\.69e21 FLOPs/m);
    assertMatch(out, /^one device +11\.8 years$/m);
    assertMatch(out, /^11 devices +1\.67 years: /m);
    assertMatch(
      out,
      /^each device +at most 74\.3 GiB .* dense-compute .* with --micro-batch 16 \(424\.6 GiB /m,
    );
    assertMatch(out, /^assumed: 1\.80e\+13 FLOP\/s .*, 30% of the 6\.00e\+13 of an NVIDIA H100/m);
    assertMatch(out, /^assumed: 80 GB \(74\.5 GiB\) of memory on one device$/m);
    const json = JSON.parse((await task("reproduce", [...args, "--json"], { env })).out);
    assertEquals([json.devices, json.largest.microBatch, json.device.name], [11, 16, "NVIDIA H100"]);
    assertStringIncludes(json.note, "a dry run");
    const asked = await task("reproduce", [...args, "--dry-run", "--flops", "1e14"], { env });
    assertMatch(asked.out, /^run /);
    assertMatch(asked.out, /^assumed: 4\.00e\+13 FLOP\/s are reached on one device$/m);
    assertEquals([...Deno.readDirSync(folder)], []);
    const denied = await task("reproduce", [...args, "--dry-run=false", "--corpus-characters", "20000"], {
      env,
    });
    assertEquals([denied.code, denied.out], [2, ""]);
    assertStringIncludes(denied.err, "Cannot train a tokenizer");
  }));
