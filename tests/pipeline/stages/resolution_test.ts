import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { graphOf } from "../../../pipeline/stages/graph.ts";
import { resolveRun } from "../../../pipeline/stages/resolution.ts";
import { inRun } from "../../../pipeline/stages/session.ts";
import { inFolder, smallCorpus } from "../../tasks/support.ts";

Deno.test("resolveRun() takes another spelling of a path as the same input, and another file as another one", () =>
  inFolder(async (folder) => {
    const [run, file] = [`${folder}/run`, `${folder}/docs.jsonl`];
    for (const name of ["docs.jsonl", "other.jsonl", "read.py"]) {
      await Deno.writeTextFile(`${folder}/${name}`, smallCorpus(40));
    }
    const events: RunEvent[] = [];
    const make = (input: string[]) =>
      inRun({ run, sources: { flags: { input, vocabularySize: 300 } } }, {
        onEvent: (event) => events.push(event),
      }, {
        task: "partition",
      }, async (session) => {
        const graph = graphOf(session.work.configuration);
        for (const name of ["corpus", "tokenizer"]) await session.run(graph.get(name)!);
        return session.work.configuration.input;
      });
    assertEquals(await make([file]), [file]);
    events.length = 0;
    await Deno.symlink(folder, `${folder}/link`);
    for (const same of [`${folder}/../${folder.split("/").at(-1)}/docs.jsonl`, `${folder}/link/doc?.jsonl`]) {
      assertEquals(await make([same]), [file], same);
      assertEquals((await resolveRun(run, { flags: { input: [same] } }, false)).changed, []);
    }
    assertEquals(
      new Set(events.map((event) => event.type === "stage" ? event.state : event.type)),
      new Set<string>(["up to date"]),
    );
    await assertRejects(() => make([`${folder}/other.jsonl`]), InputError, "other.jsonl");
    await assertRejects(() => make([file, `${folder}/other.jsonl`]), InputError, "other.jsonl");

    await inRun(
      { run, sources: { flags: { input: [`${folder}/read.py`] } }, force: true },
      {
        onEvent: (event) => events.push(event),
      },
      { task: "corpus" },
      (session) => session.run(graphOf(session.work.configuration).get("corpus")!),
    );
    const [warning] = events.filter((event) => event.type === "warning");
    assertEquals(warning.message, `"${folder}/read.py" is read as text: a document each`);
  }));
