import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { readRunConfiguration } from "../../../pipeline/run/configuration.ts";
import type { Manifest } from "../../../pipeline/run/manifest.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { corpus, documentsOf, fixedText, textHash } from "../../../pipeline/stages/corpus.ts";
import { graphOf } from "../../../pipeline/stages/graph.ts";
import { runOneStage } from "../../../pipeline/stages/partition.ts";
import { inRun } from "../../../pipeline/stages/session.ts";
import { readManifest } from "../../../pipeline/run/manifest.ts";
import { hashes, inFolder, smallCorpus } from "../../tasks/support.ts";
import { SMALL_SETTINGS } from "./support.ts";

/** Runs the stage alone. */
async function fix(run: string, flags: Partial<Configuration>): Promise<Manifest> {
  return await inRun({ run, sources: { flags }, force: true }, {}, { task: "corpus" }, async (session) => {
    const stage = graphOf(session.work.configuration).get("corpus")!;
    return await session.run(stage);
  });
}

Deno.test("the stage corpus hashes files where they are, and their names do not count", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/a.jsonl`, smallCorpus(4));
    await Deno.copyFile(`${folder}/a.jsonl`, `${folder}/b.jsonl`);
    await Deno.copyFile(`${folder}/a.jsonl`, `${folder}/a.ndjson`);
    const made = await fix(`${folder}/run`, { input: [`${folder}/a.jsonl`] });
    assertEquals([made.outputs, made.result], [{}, { files: 1 }]);
    const hash = async (flags: Partial<Configuration>) => textHash(await fix(`${folder}/run`, flags));
    assertEquals(await hash({ input: [`${folder}/b.jsonl`] }), textHash(made));
    assertNotEquals(await hash({ input: [`${folder}/a.ndjson`] }), textHash(made)); // read as another kind
    assertNotEquals(await hash({ input: [`${folder}/a.jsonl`], sourceField: "source" }), textHash(made));
    await assertRejects(
      () => fix(`${folder}/run`, { input: [`${folder}/none.jsonl`] }),
      InputError,
      "none.jsonl",
    );
  }));

Deno.test("the stage corpus keeps the embedded corpus in the run, and gives its documents back", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const flags = { input: [], corpusCharacters: 2000 };
    const made = await fix(run, flags);
    assertEquals(Object.keys(made.outputs), ["corpus/documents.jsonl"]);
    assertEquals(textHash(made), made.outputs["corpus/documents.jsonl"].sha256);
    const [stage] = corpus.of({} as Configuration);
    assertEquals(stage.outputs, ["corpus/"]);
    const configuration = { ...flags } as unknown as Configuration;
    const documents = await Array.fromAsync(documentsOf({ configuration }, made, fixedText({ run }, made)));
    assertEquals(documents.length, made.result.documents);
    assertEquals(documents.every(({ text, source }) => text.length > 0 && source !== ""), true);
  }));

Deno.test("the stage corpus keeps documents that a script hands over, as it keeps standard input", () =>
  inFolder(async (folder) => {
    const run = `${folder}/run`;
    const given = [{ text: "One.\nTwo.", source: "a" }, { text: "three", source: "" }];
    let asked = 0;
    const documents = () =>
      ReadableStream.from(function* () {
        for (; true; asked++) yield given[asked % 2];
      }());
    const hand = (flags: Partial<Configuration>) =>
      inRun(
        { run, sources: { flags } },
        {},
        { task: "partition", documents: documents() },
        (session) => session.run(graphOf(session.work.configuration).get("corpus")!),
      );
    const made = await hand({ maxDocuments: 2 });
    assertEquals(made.result, { documents: 2 });
    assertEquals(asked <= 4, true); // it is not read to an end that it has not
    const { configuration } = (await readRunConfiguration(run))!;
    assertEquals(configuration.input, ["-"]);
    assertEquals(
      await Array.fromAsync(documentsOf({ configuration }, made, fixedText({ run }, made))),
      given,
    );
    const both = { input: [`${folder}/other.jsonl`] };
    await assertRejects(() => hand(both), InputError, "only one of documents and input may be given");
    await assertRejects(() => hand({ corpus: "wide" }), InputError, "only one of documents and corpus");
  }));

/** Runs a test with a folder of two files of text, and what fixes them in a run and trains its tokenizer. */
const inTexts = (
  test: (folder: string, begun: (more?: Partial<Configuration>) => Promise<string>) => Promise<void>,
) =>
  inFolder(async (folder) => {
    for (const name of ["b", "c"]) await Deno.writeTextFile(`${folder}/${name}.jsonl`, smallCorpus(8));
    let runs = 0;
    await test(folder, async (more = {}) => {
      const run = `${folder}/run-${runs++}`;
      const flags = { ...SMALL_SETTINGS, input: [`${folder}/*.jsonl`], ...more };
      await runOneStage({ run, stage: "corpus", sources: { flags } });
      await runOneStage({ run, stage: "tokenizer" });
      return run;
    });
  });

Deno.test("stages read the files that the stage corpus hashed, or say that they have changed, in a limited text too", () =>
  inTexts(async (folder, begun) => {
    const runs = [{}, { maxDocuments: 10 }, { maxDocuments: 10, take: "head" as const }, {
      tokenizerSample: 1000,
    }];
    for (const more of runs) {
      const run = await begun(more);
      const end = await Deno.readFile(`${folder}/c.jsonl`);
      await Deno.writeTextFile(`${folder}/c.jsonl`, smallCorpus(1), { append: true });
      const error = await assertRejects(
        () => runOneStage({ run, stage: "tokenize" }),
        InputError,
        `as its files must be those that stage "corpus" hashed: "${folder}/c.jsonl" has changed since`,
      );
      assertEquals(error.where, `${folder}/c.jsonl`);
      const part = { index: 1, of: 1 };
      if (!("maxDocuments" in more)) {
        await assertRejects(() => runOneStage({ run, stage: "tokenize", part }), InputError, "has changed");
      }
      await Deno.writeFile(`${folder}/c.jsonl`, end);
      await runOneStage({ run, stage: "tokenize" });
      const { read } = (await readManifest(run, "tokenize"))!;
      assertEquals(Object.keys(read ?? {}), ["tokenizer.json"]); // the run's own files alone
    }
    const limited = await begun({ maxTokens: 300, take: "head" }); // which are in the first file
    const first = await Deno.readFile(`${folder}/b.jsonl`);
    await Deno.writeTextFile(`${folder}/b.jsonl`, "\n", { append: true });
    await assertRejects(
      () => runOneStage({ run: limited, stage: "tokenize" }),
      InputError,
      `"${folder}/b.jsonl" has changed`,
    );
    await Deno.writeFile(`${folder}/b.jsonl`, first);
    const run = await begun({ tokenizerSample: 1000 }); // of the first file it reads little
    await Deno.writeTextFile(`${folder}/b.jsonl`, "\n", { append: true });
    const again = () => runOneStage({ run, stage: "tokenizer", force: true });
    await assertRejects(again, InputError, `"${folder}/b.jsonl" has changed`);
    await Deno.remove(`${folder}/b.jsonl`);
    await assertRejects(again, InputError, `"${folder}/b.jsonl" as it must exist`);
  }));

Deno.test("a file that comes between two parts of tokenize is none of the text that the stage corpus fixed", () =>
  inTexts(async (folder, begun) => {
    const [whole, run] = [await begun(), await begun()];
    await runOneStage({ run: whole, stage: "tokenize" });
    const part = (index: number) => runOneStage({ run, stage: "tokenize", part: { index, of: 2 } });
    await part(1);
    await Deno.writeTextFile(`${folder}/a.jsonl`, smallCorpus(9));
    for (const index of [2, 1, 2]) await part(index);
    await runOneStage({ run, stage: "tokenize" });
    assertEquals(await hashes(run), await hashes(whole));
  }));
