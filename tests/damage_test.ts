// Damage never passes: whoever reads a file of a run first refuses it by name, or comes to the same bytes as without.

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { evaluateRun, InputError, partition, runOneStage, trainExpert, verifyRun } from "../mod.ts";
import type { RunEvent } from "../pipeline/run/events.ts";
import { wordText } from "../kernels/errors.ts";
import { readManifest } from "../pipeline/run/manifest.ts";
import { type Base, type Damage, filesOf, isNotice, kindOf, makeBase, outcomeOf } from "./fuzz/damage.ts";
import { type Case, caseOf, doCase, type Inputs, makeInputs } from "./fuzz/cases.ts";
import { flipCases } from "./fuzz/flips.ts";
import { gpu } from "./kernels/support.ts";
import { copyFolder, inFolder, task } from "./tasks/support.ts";

let shared: Promise<Base> | undefined;
const places: string[] = [];

/** Gives the run that all tests here damage copies of. */
function base(): Promise<Base> {
  places.push(Deno.makeTempDirSync());
  return shared ??= makeBase(`${places[0]}/base`, gpu!);
}

addEventListener("unload", () => places.forEach((place) => Deno.removeSync(place, { recursive: true })));

function test(name: string, fn: (base: Base, run: string, folder: string) => Promise<void>) {
  Deno.test({
    name,
    ignore: gpu === null,
    fn: async () => {
      const whole = await base();
      await inFolder(async (folder) => {
        copyFolder(whole.run, `${folder}/run`);
        await fn(whole, `${folder}/run`, folder);
      });
    },
  });
}

function flip(path: string, byte: number, bit = 0): void {
  const bytes = Deno.readFileSync(path);
  bytes[byte] ^= 1 << bit;
  Deno.writeFileSync(path, bytes);
}

const middle = (path: string) => Deno.statSync(path).size >> 1;

test("a token shard whose bits flipped is refused by score, with a repair that works", async (whole, run) => {
  const shard = `${run}/tokens/train-00000.arrow`;
  const sound = Deno.readFileSync(shard);
  flip(shard, middle(shard));
  await Deno.remove(`${run}/scores`, { recursive: true });
  await Deno.remove(`${run}/manifests/score.json`);
  await Deno.remove(`${run}/manifests/score`, { recursive: true });
  const refused = await task("score", ["--run", run]);
  assertEquals(refused.code, 2);
  assertMatch(
    refused.err,
    /Cannot read "\S+tokens\/train-00000\.arrow" as it must be as it was made: its SHA-256 is/,
  );
  assertMatch(refused.err, /run deno task tokenize --run \S+ --check, or copy the file again/);
  assertEquals((await task("tokenize", ["--run", run, "--check"])).code, 0);
  assertEquals(Deno.readFileSync(shard), sound);
  assertEquals((await task("partition", ["--run", run])).code, 0);
  const { code, out } = await task("verify", [run]);
  assertEquals(code, 0, out);
  const scores = Deno.readFileSync(`${run}/scores/train-00000.arrow`);
  assertEquals(scores, Deno.readFileSync(`${whole.run}/scores/train-00000.arrow`));
});

/** Which stage is the first to read a kind of file, when it is made again from what is there. */
const READERS: [file: string, work: string][] = [
  ["corpus/documents.jsonl", "tokenizer"],
  ["corpus/documents.jsonl", "tokenize"],
  ["tokenizer.json", "tokenize"],
  ["tokenizer.json", "train-routers"],
  ["tokenizer.json", "train-expert-00"],
  ["tokenizer.json", "evaluate"],
  ["tokenizer.json", "generate"],
  ["tokens/train-00000.arrow", "train-routers"],
  ["tokens/train-00000.arrow", "score"],
  ["tokens/train-00000.arrow", "split"],
  ["tokens/train-00000.arrow", "train-dense"],
  ["tokens/test-00000.arrow", "train-dense"],
  ["tokens/test-00000.arrow", "evaluate"],
  ["scores/train-00000.arrow", "assign"],
  ["scores/test-00000.arrow", "split"],
  ["assignments/train-00000.arrow", "split"],
  ["partitioner/partitioner.json", "score"],
  ["partitioner/router-01/config.json", "score"],
  ["partitioner/router-01/model.safetensors", "score"],
  ["partitioner/router-01/model.safetensors", "evaluate"],
  ["partitioner/router-01/model.safetensors", "generate"],
  ["partition/manifest.json", "evaluate"],
  ["partition/expert-00/manifest.json", "train-expert-00"],
  ["partition/expert-00/train-00000.arrow", "train-expert-00"],
  ["partition/expert-00/test-00000.arrow", "train-expert-00"],
  ["experts/expert-00/config.json", "evaluate"],
  ["experts/expert-00/model.safetensors", "evaluate"],
  ["dense/model.safetensors", "evaluate"],
  ["evaluation.json", "report"],
  ["metrics/rounds.jsonl", "report"],
  ["metrics/expert-00.jsonl", "report"],
  ["config.json", "partition"],
  ["config.json", "train-expert-00"],
  ["config.json", "generate"],
  ["config.json", "report"],
  ["manifests/score.json", "assign"],
  ["manifests/tokenize.json", "score"],
];

test("whoever reads a flipped file first refuses it by name", async (whole, _, folder) => {
  for (const [file, work] of READERS) {
    const at = 8 * (Deno.statSync(`${whole.run}/${file}`).size >> 1) + 1;
    const outcome = await outcomeOf(whole, folder, { kind: "flip", file, at }, work, gpu!);
    assertEquals(outcome, "refused", `${work} with ${file}`);
  }
});

test("verify finds one flipped bit in every kind of file", async (whole, _, folder) => {
  const kinds = Map.groupBy(filesOf(whole.run), kindOf);
  for (const [file] of kinds.values()) {
    const damage: Damage = {
      kind: "flip",
      file,
      at: 8 * (Deno.statSync(`${whole.run}/${file}`).size >> 1) + 1,
    };
    assert(["found", "refused"].includes(await outcomeOf(whole, folder, damage, "verify", gpu!)), file);
  }
});

/** Makes the inputs that the cases damage, and does these cases. */
async function doCases(whole: Base, folder: string, casesOf: (inputs: Inputs) => Promise<Case[]> | Case[]) {
  const inputs = await makeInputs(`${folder}/inputs`, whole, gpu!);
  const failures: string[] = [];
  for (const own of await casesOf(inputs)) {
    await doCase(own, { base: whole, inputs, folder, gpu: gpu! }).catch((error) =>
      failures.push(`${JSON.stringify(own)}: ${error.message}`)
    );
  }
  assertEquals(failures, []);
}

test(
  "two hundred cases of damage and work: the undisturbed result, or an error",
  async (whole, _, folder) => {
    await doCases(
      whole,
      folder,
      (inputs) => Array.from({ length: 200 }, (_, index) => caseOf(whole, inputs, 1, index)),
    );
  },
);

test(
  "a bit of a file flips, and who reads it refuses it or comes to the same: a sample",
  async (whole, _, folder) => {
    const all = await flipCases(whole, 1, gpu!);
    assert(all.length > 500, `${all.length}`);
    await doCases(whole, folder, () => all.filter((_, i) => i % 20 === 0));
  },
);

test("partition --check makes again what is damaged or missing, and nothing else", async (whole, run) => {
  const damaged = [
    "scores/train-00001.arrow",
    "partitioner/router-00/config.json",
    "partition/manifest.json",
  ];
  for (const file of damaged) flip(`${run}/${file}`, middle(`${run}/${file}`));
  const states: string[] = [];
  const onEvent = (event: RunEvent) => {
    if (event.type === "stage" && event.state !== "started") {
      states.push(`${event.stage} ${event.state} ${event.by ?? ""}`);
    }
  };
  await partition({ run, gpu: gpu! }, { onEvent }).catch(() => {}); // which believes sizes
  assertEquals(states.filter((state) => !/up to date size$/.test(state)), []);
  states.length = 0;
  await partition({ run, gpu: gpu!, check: true }, { onEvent });
  assertEquals(states.map((state) => state.replace(/ $/, "")), [
    "corpus up to date content",
    "tokenizer up to date content",
    "tokenize up to date content",
    "train-routers done",
    "score done",
    "assign up to date content",
    "split done",
  ]);
  assertEquals((await verifyRun(run)).problems, []);
  for (const path of filesOf(run)) {
    assertEquals(Deno.readFileSync(`${run}/${path}`), Deno.readFileSync(`${whole.run}/${path}`), path);
  }
});

test("a stage's manifest says what was really read", async (_, run) => {
  const { outputs } = (await readManifest(run, "tokenize"))!;
  const { read } = (await readManifest(run, "score"))!;
  for (const [path, { sha256 }] of Object.entries(outputs)) assertEquals(read![path], sha256);
  assert("partitioner/router-01/model.safetensors" in read!);
  const expert = (await readManifest(run, "train-expert-00"))!.read!;
  assert(
    Object.keys(expert).every((path) => path.startsWith("partition/expert-00/") || path === "tokenizer.json"),
  );
  assert("experts/expert-01/model.safetensors" in (await readManifest(run, "evaluate"))!.read!);
});

test(
  "a damaged checkpoint is passed over by name, and the result is the undisturbed one",
  async (whole, run) => {
    const warnings: string[] = [];
    const onEvent = (event: RunEvent) => {
      if (event.type === "warning") warnings.push(wordText(event.message));
    };
    const folder = `${run}/experts/expert-00`;
    const model = Deno.readFileSync(`${whole.run}/experts/expert-00/model.safetensors`);
    const train = async () => {
      await Deno.remove(`${run}/manifests/train-expert-00.json`);
      warnings.length = 0;
      await trainExpert(0, { run, gpu: gpu!, checkpointEvery: 2 }, { onEvent });
      assertEquals(Deno.readFileSync(`${folder}/model.safetensors`), model);
      return warnings.join("\n");
    };
    const last = `${folder}/checkpoints/step-00000004.safetensors`;
    flip(last, middle(last), 3);
    assertMatch(await train(), /step-00000004\.safetensors" as its checksum .* goes on after step 2 of 4/s);
    Deno.copyFileSync(`${folder}/checkpoints/step-00000002.safetensors`, last);
    assertMatch(await train(), /step-00000004\.safetensors" as its name .* goes on after step 2 of 4/s);
    flip(`${run}/metrics/expert-00.jsonl`, 12);
    assertMatch(await train(), /the metrics up to it must be whole/);
    assertEquals(
      Deno.readFileSync(`${run}/metrics/expert-00.jsonl`),
      Deno.readFileSync(`${whole.run}/metrics/expert-00.jsonl`),
    );
  },
);

test(
  "a damaged state of routers is refused by name, and learning comes to the same routers",
  async (whole, run) => {
    const state = `${run}/partitioner/state.safetensors`;
    flip(state, middle(state), 2);
    await Deno.remove(`${run}/manifests/train-routers.json`);
    const warnings: string[] = [];
    await runOneStage({ run, stage: "train-routers", gpu: gpu! }, {
      onEvent: (event) => void (event.type === "warning" && warnings.push(wordText(event.message))),
    });
    assertMatch(
      warnings.join("\n"),
      /state\.safetensors" as its checksum .*; routers are trained from the beginning/,
    );
    for (const file of ["state.safetensors", "router-01/model.safetensors"]) {
      assertEquals(
        Deno.readFileSync(`${run}/partitioner/${file}`),
        Deno.readFileSync(`${whole.run}/partitioner/${file}`),
      );
    }
  },
);

test("a config.json that was edited stops with both values, unless it is accepted", async (_, run) => {
  const path = `${run}/config.json`;
  const text = Deno.readTextFileSync(path);
  Deno.writeTextFileSync(path, text.replace('"seed": 0', '"seed": 1'));
  const refused = await task("partition", ["--run", run]);
  assertEquals(refused.code, 2);
  assertMatch(
    refused.err,
    /config\.json" as it must be what the run wrote.* --seed is 1, "\S+" ran with 0; .*--force/,
  );
  assert((await verifyRun(run)).problems.some(({ file }) => file === "config.json"));
  Deno.writeTextFileSync(path, text.replace('"chunk": 0', '"chunk": 40'));
  const accepted = await task("partition", ["--run", run, "--force"]);
  assertEquals(accepted.code, 0, accepted.err);
  assertMatch(accepted.err, /score +up to date by size/);
  assertMatch(accepted.err, /assign +done/);
  assertEquals((await task("partition", ["--run", run])).code, 0);
});

test("outputs may not leave the run, neither by name nor by a link", async (_, run, folder) => {
  const path = `${run}/manifests/assign.json`;
  const manifest = JSON.parse(Deno.readTextFileSync(path));
  for (const name of ["../../etc/passwd", "/etc/passwd", "a/../../b", ""]) {
    const { checksum: _, ...old } = {
      ...manifest,
      format: 2,
      outputs: { [name]: { bytes: 1, sha256: "0".repeat(64) } },
    };
    Deno.writeTextFileSync(path, JSON.stringify(old));
    await assertRejects(() => readManifest(run, "assign"), InputError, "a path must lie in the run folder");
  }
  for (const outputs of [null, { a: { bytes: 1 } }, { a: { bytes: 1, sha256: 5 } }]) {
    Deno.writeTextFileSync(path, JSON.stringify({ ...manifest, outputs }));
    await assertRejects(() => readManifest(run, "assign"), InputError, "must be a stage's manifest: outputs");
  }
  Deno.writeTextFileSync(path, JSON.stringify(manifest));
  Deno.renameSync(`${run}/assignments`, `${folder}/elsewhere`);
  Deno.symlinkSync(`${folder}/elsewhere`, `${run}/assignments`);
  const { problems } = await verifyRun(run);
  assertMatch(
    String(problems.find(({ file }) => file.startsWith("assignments/"))?.what),
    /link out of the run/,
  );
});

test("manifests that change places are told apart", async (_, run) => {
  Deno.copyFileSync(`${run}/manifests/assign.json`, `${run}/manifests/split.json`);
  await assertRejects(() => readManifest(run, "split"), InputError, 'it is that of "assign"');
  await assertRejects(() => evaluateRun({ run, gpu: gpu! }), InputError, 'it is that of "assign"');
});

Deno.test("fuzz refuses flags that it does not know, and values that are no numbers", async () => {
  const cases = [
    [["--count", "abc"], '--count must be a whole number: it is "abc"'],
    [["--seed=-1"], "--seed must be a whole number"],
    [["--counts", "3"], "--counts is not known"],
    [["3"], "3 is not known"],
  ] as const;
  for (const [args, why] of cases) {
    const { code, out, err } = await task("fuzz", [...args]);
    assertEquals([code, out, err.trim().split("\n").length], [2, "", 1], err);
    assert(err.includes(why), err);
  }
});

Deno.test("isNotice() lets a work tell what is missing, and no other settings, stages or more that is done or may go", () => {
  const text = JSON.stringify;
  const stage = { stage: "score", settings: { prefix: 16 }, revision: { made: 1, now: 1 } };
  const status = (now: unknown) => isNotice("status", text([now]), text([stage]));
  assert(status(stage) && status({ stage: "score", revision: { made: null, now: 1 } }));
  for (
    const wrong of [
      { ...stage, settings: { prefix: 17 } },
      { ...stage, revision: { made: 2, now: 1 } },
      { ...stage, stage: "split" },
      { stage: "score", revision: { made: 1, now: 1 } },
    ]
  ) assert(!status(wrong), text(wrong));
  const job = { name: "score", first: 1, done: [true, false] };
  const jobs = (now: unknown) => isNotice("jobs", text([now]), text([job]));
  assert(jobs({ ...job, done: [false, false] }) && !jobs({ ...job, done: [true, true] }));
  assert(!jobs({ ...job, first: 0 }));
  const plan = (...stages: string[]) => text([{ stages: stages.map((stage) => ({ stage })) }]);
  assert(isNotice("plan", plan("a", "b"), plan("a", "b")) && !isNotice("plan", plan("a"), plan("a", "b")));
  const clean = (files: number, left: string[] = []) =>
    text({ checkpoints: { files }, unfinished: {}, left });
  assert(isNotice("clean", clean(1), clean(2)) && !isNotice("clean", clean(3), clean(2)));
  assert(!isNotice("clean", clean(2, ["mine.txt"]), clean(2)));
});
