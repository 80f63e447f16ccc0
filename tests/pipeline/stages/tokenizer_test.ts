import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { hashFile } from "../../../pipeline/run/files.ts";
import { type Configuration, defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { tokenizer } from "../../../pipeline/stages/tokenizer.ts";
import { inFolder } from "../../tasks/support.ts";

/** The stage in a run with these settings, and what it says of itself. */
function stageOf(more: Partial<Configuration>) {
  const configuration = { ...defaultConfiguration(), ...more };
  const [stage] = tokenizer.of(configuration);
  return { stage, context: { run: "runs/a", configuration } };
}

Deno.test("a tokenizer that is trained depends on the text and how it is trained, one that is named on its file and EOS", () =>
  inFolder(async (folder) => {
    const trained = stageOf({ vocabularySize: 500 });
    const values = await trained.stage.values!(trained.context);
    assertEquals(Object.keys(values), ["vocabularySize", "tokenizerSample", "holdout", "seed"]);
    assertEquals(values.vocabularySize, 500);
    assertEquals(await trained.stage.external!(trained.context), {});

    const path = `${folder}/tokenizer.json`;
    await Deno.writeTextFile(path, "{}");
    const named = stageOf({ tokenizer: path, eos: "</s>" });
    assertEquals(await named.stage.values!(named.context), { eos: "</s>" });
    assertEquals(await named.stage.external!(named.context), { tokenizer: (await hashFile(path)).sha256 });
    assertEquals(
      await named.stage.inputs(named.context, () => Promise.reject(new Error("it needs no text"))),
      {},
    );
  }));

Deno.test("a tokenizer that is named but not there, a folder or a pipe is refused by its name", () =>
  inFolder(async (folder) => {
    await new Deno.Command("mkfifo", { args: [`${folder}/pipe`] }).output();
    const facts = [[`${folder}/none.json`, "there is none"], [folder, "it is a folder"], [
      `${folder}/pipe`,
      "it is a pipe",
    ]];
    for (const [path, fact] of facts) {
      const { stage, context } = stageOf({ tokenizer: path });
      const error = await assertRejects(() => stage.external!(context), InputError, fact);
      assertEquals(error.where, path);
    }
  }));
