import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as v from "valibot";
import { InputError } from "../../../kernels/errors.ts";
import { byLabel, conform, count, readJson, readJsonLines, share } from "../../../pipeline/run/schema.ts";
import { inFolder } from "../../tasks/support.ts";

const SCHEMA = v.object({ rows: v.array(v.object({ n: count, part: share })) });

Deno.test("readJson() gives what the schema knows, and names file and field that are wrong", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.json`;
    const must = `Cannot read "${path}" as it must be a list: `;
    const read = () => readJson(path, SCHEMA, "a list");
    await assertRejects(read, InputError, `${must}it is missing`);
    const wrong: [text: string, fact: string][] = [
      ["{", ""],
      ["[]", "rows: "],
      [`{"rows":[{"n":1,"part":0},{"n":-1,"part":0}]}`, "rows.1.n: "],
      [`{"rows":[{"n":1.5,"part":0}]}`, "rows.0.n: "],
      [`{"rows":[{"n":1,"part":1.01}]}`, "rows.0.part: "],
    ];
    for (const [text, fact] of wrong) {
      await Deno.writeTextFile(path, text);
      const { where } = await assertRejects(read, InputError, must + fact);
      assertEquals(where, path);
    }
    await Deno.writeTextFile(path, `{"rows":[{"n":1,"part":1,"new":2}],"other":3}`);
    assertEquals(await read(), { rows: [{ n: 1, part: 1 }] });
  }));

Deno.test("readJsonLines() leaves out a line that is being written, and names the line that is wrong", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.jsonl`;
    const read = () => readJsonLines(path, v.object({ n: count }), "metrics");
    await Deno.writeTextFile(path, `{"n":1}\n{"n":2}\n{"n`);
    assertEquals(await read(), [{ n: 1 }, { n: 2 }]);
    await Deno.writeTextFile(path, `{"n":1}\n{"m":2}\n`);
    await assertRejects(read, InputError, `Cannot read "${path}" as it must be metrics: line 2: n: `);
  }));

Deno.test("byLabel() keeps labels that every object has as keys, and names the label that is wrong", () => {
  const schema = byLabel(v.object({ n: count }));
  for (
    const text of [
      "{}",
      '{"b":{"n":1},"__proto__":{"n":2},"prototype":{"n":3},"constructor":{"n":4},"":{"n":5}}',
    ]
  ) {
    assertEquals(JSON.stringify(conform(schema, JSON.parse(text))), text);
  }
  const wrong: [value: unknown, field: string][] = [
    [{ b: { n: 1 }, constructor: { n: -1 } }, "constructor.n: "],
    ...[null, [], "b"].map((value): [unknown, string] => [value, "it must be an object"]),
  ];
  for (const [value, field] of wrong) assertThrows(() => conform(schema, value), InputError, field);
});
