import { assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { readRunConfiguration } from "../../../pipeline/run/configuration.ts";
import type { Manifest } from "../../../pipeline/run/manifest.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { corpus, documentsOf, textHash } from "../../../pipeline/stages/corpus.ts";
import { graphOf } from "../../../pipeline/stages/graph.ts";
import { inRun } from "../../../pipeline/stages/session.ts";
import { inFolder, smallCorpus } from "../../tasks/support.ts";

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
    const documents = await Array.fromAsync(documentsOf({ run, configuration }, made));
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
    assertEquals(await Array.fromAsync(documentsOf({ run, configuration }, made)), given);
    const both = { input: [`${folder}/other.jsonl`] };
    await assertRejects(() => hand(both), InputError, "only one of documents and input may be given");
    await assertRejects(() => hand({ corpus: "wide" }), InputError, "only one of documents and corpus");
  }));
