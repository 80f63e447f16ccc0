import { assert, assertEquals } from "@std/assert";
import { ExplainedError, InputError, RunError, say, setting, task, wordText } from "../../kernels/errors.ts";

Deno.test("say`` keeps references for whoever words them, also those of a text that is put in", () => {
  const remedy = say`give a larger ${setting("sample")}`;
  const whole = say`${setting("experts", 4)} is too many; ${remedy} or run ${
    task("score", { run: "a b", force: true, left: undefined, off: false })
  }`;
  assertEquals(
    wordText(whole),
    'experts 4 is too many; give a larger sample or run task "score" with run "a b", force',
  );
  const words = wordText(whole, (reference) => "setting" in reference ? `<${reference.setting}>` : "<task>");
  assertEquals(words, "<experts> is too many; give a larger <sample> or run <task>");
});

Deno.test("an ExplainedError keeps what, where, remedy and cause apart, and reports what and remedy", () => {
  const cause = new TypeError("inside");
  const error = new InputError(say`Cannot use ${setting("prefix")} as it must fit: it is 9`, {
    where: "runs/a",
    remedy: say`give a smaller ${setting("prefix")}`,
    cause,
  });
  assertEquals(error.message, "Cannot use prefix as it must fit: it is 9; give a smaller prefix");
  assertEquals([error.name, error.where, error.cause], ["InputError", "runs/a", cause]);
  assertEquals(wordText(error.what), "Cannot use prefix as it must fit: it is 9");
  assert(error instanceof ExplainedError && !(error instanceof RunError));
  const plain = new RunError("Cannot go on");
  assertEquals([plain.name, plain.message, plain.where, plain.remedy], [
    "RunError",
    "Cannot go on",
    undefined,
    undefined,
  ]);
});
