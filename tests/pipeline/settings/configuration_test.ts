import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  checkSettings,
  defaultConfiguration,
  FIELD_NAMES,
  FIELDS,
} from "../../../pipeline/settings/configuration.ts";
import { EXPERTS, LARGER_DENSE, OPTIMISER, SWITCH } from "../../../pipeline/settings/experts.ts";
import { checkValue, type Fields } from "../../../pipeline/settings/field.ts";
import { ASSIGNMENT, PARTITIONER } from "../../../pipeline/settings/partitioner.ts";
import { TEXT, TOKENS } from "../../../pipeline/settings/text.ts";

Deno.test("FIELDS have names and flags of their own, a heading, and defaults that they take", () => {
  const fields = Object.entries<Fields[string]>(FIELDS);
  assertEquals(new Set(fields.map(([, { flag }]) => flag)).size, fields.length);
  for (const [name, field] of fields) {
    assertEquals(field.name, name);
    assert(field.flag !== "" && field.section !== "", name);
    checkValue(field, field.default);
  }
});

Deno.test("no name stands in two sections", () => {
  const sections: Fields[] = [
    TEXT,
    TOKENS,
    PARTITIONER,
    OPTIMISER,
    ASSIGNMENT,
    EXPERTS,
    LARGER_DENSE,
    SWITCH,
  ];
  const names = sections.flatMap((section) => Object.keys(section));
  assertEquals(names.length, new Set(names).size);
  assertEquals([...names, "seed"], [...FIELD_NAMES]);
});

Deno.test("checkSettings() refuses what a setting may not be, and passes over what is undefined", () => {
  checkSettings({ experts: 3, prefix: undefined, prefixLengths: [2, 8] });
  assertThrows(() => checkSettings({ prefix: NaN }), InputError, "use prefix as it must be an integer");
  assertThrows(() => checkSettings({ prefixLengths: [8, 1] }), InputError, "use prefixLengths as it must be");
});

Deno.test("defaultConfiguration() gives lists of its own", () => {
  defaultConfiguration().input.push("a.txt");
  assertEquals(defaultConfiguration().input, []);
});
