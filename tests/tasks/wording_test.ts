import { assertEquals } from "@std/assert";
import { FIELDS } from "../../mod.ts";
import { say, setting, task } from "../../kernels/mod.ts";
import { worded } from "../../tasks/wording.ts";

Deno.test("worded() makes flags of settings, with their values", () => {
  assertEquals(worded("as it is"), "as it is");
  const text = say`set ${setting("sequenceLength")} or ${setting("expert", "all")}, not ${
    setting("vocabularySize", 300)
  }`;
  assertEquals(worded(text), "set --sequence-length or --expert all, not --vocab-size 300");
  for (const { name, flag } of Object.values(FIELDS)) assertEquals(worded([setting(name)]), `--${flag}`);
});

Deno.test("worded() makes commands of tasks, without what is false or not given, quoted for a shell", async () => {
  const all = task("train-expert", { run: "runs/a", expert: 2, force: true, resume: false, part: undefined });
  assertEquals(
    worded(say`run ${all} first`),
    "run deno task train-expert --run runs/a --expert 2 --force first",
  );
  assertEquals(worded([task("report")]), "deno task report");
  const run = "it's $HOME; a *";
  const command = worded([task("score", { run })]);
  const shell = new Deno.Command("sh", { args: ["-c", `printf '%s\n' ${command}`] });
  const { stdout } = await shell.output();
  assertEquals(new TextDecoder().decode(stdout), ["deno", "task", "score", "--run", run, ""].join("\n"));
});
