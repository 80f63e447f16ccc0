import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { inFolder, ROOT, SMALL, smallCorpus } from "./support.ts";

Deno.test("the example for CI makes a run, finds it again, checks it and publishes its hash", () =>
  inFolder(async (folder) => {
    const page = await Deno.readTextFile(`${ROOT}pipeline/USING.md`);
    const [, script] = /^## In CI\n\n```sh\n([\s\S]*?)^```$/m.exec(page)!;
    const command = 'deno task partition --input "$docs"';
    assertStringIncludes(script, command);
    // The same script, on a corpus that takes a second.
    const small = script.replace(command, `${command} ${SMALL.join(" ")}`);
    const docs = `${folder}/docs.jsonl`;
    await Deno.writeTextFile(docs, smallCorpus());
    const start = async (run: string) => {
      const env = {
        CACHE: `${folder}/cache`,
        DOCS: docs,
        RUN: `${folder}/${run}`,
        PUBLISHED: `${folder}/published`,
      };
      const shell = new Deno.Command("sh", { args: ["-c", small], cwd: ROOT, env });
      const { code, stderr } = await shell.output();
      const read = (file: string) => Deno.readTextFile(`${folder}/${file}`).catch(() => "");
      return {
        code,
        err: new TextDecoder().decode(stderr),
        document: JSON.parse(await read("cache/partition.json") || "null"),
        published: (await read("published")).trim(),
      };
    };
    const states = ({ document }: Awaited<ReturnType<typeof start>>) =>
      new Set(document.stages.map(({ state }: { state: string }) => state));

    const first = await start("first");
    assertEquals(first.code, 0, first.err);
    assertMatch(first.published, /^[0-9a-f]{64}$/);
    assertEquals(first.published, first.document.sha256);
    assertEquals(states(first), new Set(["run"]));

    const second = await start("second"); // on another machine, with the cache
    assertEquals(second.code, 0, second.err);
    assertEquals([second.published, states(second)], [first.published, new Set(["skipped"])]);

    await Deno.remove(`${folder}/cache`, { recursive: true });
    await Deno.writeTextFile(docs, smallCorpus(50));
    const changed = await start("third");
    assertEquals(changed.code, 1, changed.err); // other bytes than those that were published
    assertStringIncludes(changed.err, "Cannot vouch for");
    assertEquals(changed.published, first.published);
  }));
