import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  checkValue,
  type Configuration,
  defaultConfiguration,
  FIELD_NAMES,
  FIELDS,
  fieldsOf,
  nearest,
  OPTIONS,
  parseValue,
  PRESETS,
  resolveConfiguration,
  stageConfiguration,
  STAGES,
} from "../../../pipeline/settings/configuration.ts";

Deno.test("FIELDS have flags unique within a task, values within their own range, and a stage or a task each", () => {
  const all = [...Object.values(FIELDS), ...Object.values(OPTIONS)];
  for (const task of new Set(all.flatMap(({ tasks }) => tasks))) {
    const flags = Object.values(fieldsOf(task)).map(({ flag }) => flag);
    assertEquals(new Set(flags).size, flags.length, task);
  }
  for (const field of Object.values(FIELDS)) {
    checkValue(field, field.default);
    assert(field.stages.length + field.tasks.length > 0, field.flag);
  }
});

Deno.test("PRESETS resolve, and tiny holds the defaults", () => {
  for (const preset of Object.keys(PRESETS)) resolveConfiguration({ preset });
  assertEquals(resolveConfiguration({ preset: "tiny" }), defaultConfiguration());
});

Deno.test("PRESETS hold the paper's values", () => {
  const paper = resolveConfiguration({ preset: "paper-1.3b" });
  const router = [
    paper.routerHidden,
    paper.routerLayers,
    paper.routerHeads,
    paper.routerBatch,
    paper.routerRate,
  ];
  assertEquals(router, [96, 12, 12, 32, 1e-4]);
  assertEquals([paper.vocabularySize, paper.sequenceLength, paper.prefix], [32_000, 1024, 256]);
  assertEquals([paper.clip, paper.beta1, paper.beta2, paper.epsilon, paper.weightDecay], [
    0.1,
    0.9,
    0.99,
    1e-8,
    0.1,
  ]);
  const steps = paper.rounds * Math.floor(paper.roundSequences / paper.routerBatch);
  assert(Math.abs(steps - 128_000) < 100, `${steps} steps`);
  assertEquals([paper.expertHidden, paper.expertLayers, paper.expertHeads, paper.expertSteps], [
    2048,
    24,
    16,
    512_000,
  ]);
  assertEquals(resolveConfiguration({ preset: "paper-335m" }).expertHidden, 1024);
});

Deno.test("resolveConfiguration() lets flags win over the file, the file over the preset, the preset over the base", () => {
  const base = { experts: 2, rounds: 2, seed: 2, chunk: 0 };
  const preset = "tiny"; // experts 4, rounds 12
  const resolved = resolveConfiguration({ base, preset, file: { rounds: 7, clip: 3 }, flags: { clip: 5 } });
  const { experts, rounds, seed, clip } = resolved;
  assertEquals({ experts, rounds, seed, clip }, { experts: 4, rounds: 7, seed: 2, clip: 5 });
});

Deno.test("resolveConfiguration() refuses impossible values with the flag and the value", () => {
  const cases: [Record<string, unknown>, typeof TypeError | typeof RangeError, string][] = [
    [{ experts: 0 }, RangeError, "--experts as it must be an integer from 1 to 65535: it is 0"],
    [{ experts: 1.5 }, RangeError, "it is 1.5"],
    [{ experts: "4" }, TypeError, 'it is "4"'],
    [{ seed: 2 ** 53 }, RangeError, "--seed"],
    [{ routerRate: NaN }, TypeError, "--router-rate"],
    [{ routerRate: 2 }, RangeError, "from 0 to 1"],
    [{ method: "best" }, RangeError, "one of balanced, argmax"],
    [{ prefix: 129 }, RangeError, "prefix is 129, sequence-length is 128"],
    [{ prefixLengths: [16, 65] }, RangeError, "the longest is 65, prefix is 64"],
    [{ routerHidden: 30, routerHeads: 4 }, RangeError, "router-hidden is 30, router-heads is 4"],
    [{ routerHidden: 6, routerHeads: 2 }, RangeError, "even multiple"],
    [{ roundSequences: 8 }, RangeError, "round-sequences is 8, router-batch is 16"],
    [{ chunk: 10 }, RangeError, "chunk is 10, experts is 4"],
    [{ expert: 4 }, TypeError, 'the nearest is "experts"'],
  ];
  for (const [flags, kind, text] of cases) {
    assertThrows(() => resolveConfiguration({ flags: flags as Partial<Configuration> }), kind, text);
  }
  assertThrows(
    () => resolveConfiguration({ preset: "big" }),
    RangeError,
    "one of tiny, small, paper-335m, paper-1.3b",
  );
});

Deno.test("stageConfiguration() gives each stage what its outputs depend on", () => {
  const configuration = defaultConfiguration();
  for (const stage of STAGES) assert(!("expertHidden" in stageConfiguration(configuration, stage)));
  assert("rounds" in stageConfiguration(configuration, "train-routers"));
  assert(!("rounds" in stageConfiguration(configuration, "score")));
  assert("prefix" in stageConfiguration(configuration, "score"));
  assert(!("method" in stageConfiguration(configuration, "score")));
  assert("seed" in stageConfiguration(configuration, "tokenize"));
});

Deno.test("parseValue() reads numbers and lists, and leaves the rest to checkValue()", () => {
  assertEquals(parseValue(FIELDS.routerRate, "4e-3"), 0.004);
  assertEquals(parseValue(FIELDS.prefixLengths, "16,32"), [16, 32]);
  assertThrows(() => checkValue(FIELDS.rounds, parseValue(FIELDS.rounds, "six")), TypeError, 'it is "six"');
  assertEquals(parseValue(FIELDS.textField, "7"), "7");
});

Deno.test("nearest() finds the flag that was meant", () => {
  const flags = FIELD_NAMES.map((name) => FIELDS[name].flag);
  assertEquals(nearest("expert", flags), "experts");
  assertEquals(nearest("vocab-siez", flags), "vocab-size");
});

Deno.test("fieldsOf() gives partition every field of a stage, and a stage its own", () => {
  const partition = Object.keys(fieldsOf("partition"));
  for (const name of FIELD_NAMES) {
    assertEquals(
      partition.includes(name),
      FIELDS[name].stages.length > 0 || ["tokenizer", "routers"].includes(name),
      name,
    );
  }
  assertStringIncludes(Object.keys(fieldsOf("assign")).join(), "method,chunk");
  assert(!("method" in fieldsOf("score")));
});
