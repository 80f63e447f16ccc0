import { assertEquals } from "@std/assert";
import { say, setting, task, wordText } from "../../kernels/errors.ts";

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
