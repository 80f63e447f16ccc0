import { assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { writeAtomic } from "../../../pipeline/graph/files.ts";
import { checkOutput } from "../../../pipeline/run/output.ts";
import { inFolder } from "../../tasks/support.ts";

const refused = (text: string) => `must not take the place of ${text}`;

Deno.test("checkOutput() refuses what is read, by whatever name, and takes any other file", () =>
  inFolder(async (folder) => {
    const [docs, link, same, models] = ["docs", "link", "same", "models"].map((name) =>
      `${folder}/${name}`
    );
    await writeAtomic(docs, "text");
    await Deno.symlink(docs, link);
    await Deno.link(docs, same);
    await writeAtomic(`${models}/model`, "weights");
    for (const output of [docs, link, same, `${folder}/./models/../docs`]) {
      const text = `"${output}" as it ${refused(`what is read: it is "${docs}"`)}`;
      await assertRejects(() => checkOutput(output, ["-", "", docs]), InputError, text);
    }
    await assertRejects(() => checkOutput(docs, [link]), InputError, refused("what is read"));
    const inside = refused(`what is read: it lies in "${models}"`);
    await assertRejects(() => checkOutput(`${models}/model`, [models]), InputError, inside);
    await assertRejects(
      () => checkOutput(`${models}/new`, [models]),
      InputError,
      refused("what is read"),
    );
    await checkOutput(docs, [models, `${folder}/none`]);
    await checkOutput(`${folder}/new/file`, [docs, models]);
  }));

Deno.test("checkOutput() refuses the files of a run, there or to come, and leaves the user's", () =>
  inFolder(async (folder) => {
    const [run, link] = [`${folder}/run`, `${folder}/link`];
    await writeAtomic(`${run}/config.json`, '{"configuration": {}}');
    await Deno.symlink(run, link);
    const own = [
      ...[
        "config.json",
        "tokenizer.json",
        "evaluation.json",
        "tokens/a/train.arrow",
        "report.html",
      ],
      ...["experts/expert-01/model.safetensors", "metrics/timing.jsonl", "scratch/x", "locks/y"],
      ...["jobs/plan.json", "export/megatron/train.bin", "dense"],
    ];
    for (const path of own) {
      for (const place of [run, link]) {
        const text = refused(`a file of a run: it is one of "${run}"`);
        await assertRejects(() => checkOutput(`${place}/${path}`), InputError, text, path);
      }
    }
    for (const path of ["compare.html", "scores.arrow", "mine/new/x"]) {
      await checkOutput(`${run}/${path}`);
    }
  }));
