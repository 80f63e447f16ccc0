import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { saveModelFolder } from "../../../pipeline/checkpoints/model_folder.ts";
import { inFolder } from "../../tasks/support.ts";
import { CONFIG, NOTES, WEIGHTS } from "./support.ts";

Deno.test("saveModelFolder() takes a tokenizer or the path of its file, to the same folder", () =>
  inFolder(async (folder) => {
    const model = { type: "BPE", vocab: { a: 0, b: 1, c: 2, "</s>": NOTES.eos }, merges: [] };
    const json = JSON.stringify({ added_tokens: [], model });
    await Deno.writeTextFile(`${folder}/tokenizer.json`, json);
    const save = (name: string, tokenizer: string | { json: string }, eos = NOTES.eos) =>
      saveModelFolder(`${folder}/${name}`, CONFIG, WEIGHTS, { notes: { ...NOTES, eos }, tokenizer });
    const records = await save("a", `${folder}/tokenizer.json`);
    assertEquals(await save("b", { json }), records);
    assertEquals(await Deno.readTextFile(`${folder}/b/tokenizer.json`), json);
    const settings = JSON.parse(await Deno.readTextFile(`${folder}/b/tokenizer_config.json`));
    assertEquals([settings.eos_token, settings.model_max_length], ["</s>", CONFIG.context]);
    await assertRejects(
      () => save("c", { json }, 4),
      InputError,
      "end-of-document token: it has no token of id 4",
    );
  }));
