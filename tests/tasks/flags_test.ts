import { assertEquals } from "@std/assert";
import { fieldsOf, type Task } from "../../tasks/command.ts";
import { unknownFlag } from "../../tasks/flags.ts";
import { TASK as EXPORT } from "../../tasks/export.ts";

/** What is said of a word after "--help"'s remedy and the first words are gone. */
async function said(word: string): Promise<string> {
  const { message } = await unknownFlag(EXPORT as unknown as Task, word, fieldsOf);
  const [, fact] = /^Cannot run task "export" as every flag must be one of its own: (.*); see --help$/.exec(
    message,
  )!;
  return fact;
}

Deno.test("unknownFlag() names a flag only if it is near, and the tasks that have the very flag", async () => {
  assertEquals(await said("--expret"), "--expret is not, the nearest is --expert");
  assertEquals(await said("--prompt=x"), '--prompt is not, but task "generate" takes --prompt');
  assertEquals(await said("--group"), '--group is not, but task "train-routers" takes --group');
  assertEquals(
    await said("--executor"),
    '--executor is not, but task "submit" takes --executor',
  );
  assertEquals(await said("--nothing-like-it"), "--nothing-like-it is not");
  assertEquals(await said("-o"), "-o is not");
});
