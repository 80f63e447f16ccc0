/** Checks that routers tell clearly different kinds of real text apart, by a short prefix. */
import { assert, assertGreater } from "@std/assert";
import { embeddedCorpus, fromBatch, partition, readShards } from "../mod.ts";
import { CORPORA } from "../pipeline/text/corpora/corpus.ts";
import { inFolder } from "./tasks/support.ts";

const CHARACTERS = 800_000; // per kind
const PREFIX = 32;
const LEAST = 0.95; // share of the held-out documents of a kind that its expert gets

Deno.test("two routers send at least 95% of the held-out documents of prose and of code to different experts by 32 tokens", () =>
  inFolder(async (folder) => {
    const kinds = { general: "prose", code: "code" };
    assert(Object.keys(kinds).every((source) => CORPORA.default.sources.includes(source)));
    let lines = "";
    for await (const { text, source } of embeddedCorpus("default", CHARACTERS)) {
      const kind = kinds[source as keyof typeof kinds];
      if (kind) lines += JSON.stringify({ text, source: kind }) + "\n";
    }
    await Deno.writeTextFile(`${folder}/docs.jsonl`, lines);
    const run = `${folder}/run`;
    const flags = {
      input: [`${folder}/docs.jsonl`],
      sourceField: "source",
      holdout: 0.4,
      experts: 2,
      prefix: PREFIX,
      rounds: 16,
      roundSequences: 128,
    };
    await partition({ run, sources: { flags } });

    /** Documents by kind and expert: a document goes where its first tokens send it. */
    const counts: Record<string, number[]> = { prose: [0, 0], code: [0, 0] };
    const seen = new Set<bigint>();
    const shards = [...Deno.readDirSync(`${run}/scores`)].map(({ name }) =>
      `${run}/scores/${name}/test.arrow`
    );
    for await (const batch of readShards(shards)) {
      const { rows, document, source, nll } = fromBatch(batch);
      for (let row = 0; row < rows; row++) {
        if (seen.has(document![row])) continue;
        seen.add(document![row]);
        counts[source![row]][nll![2 * row] <= nll![2 * row + 1] ? 0 : 1]++;
      }
    }
    const share = (kind: string, expert: number) =>
      counts[kind][expert] / (counts[kind][0] + counts[kind][1]);
    const of = share("prose", 0) > share("prose", 1) ? 0 : 1;
    console.log(`held-out documents by expert: ${JSON.stringify(counts)}`);
    for (const kind of ["prose", "code"]) {
      assertGreater(counts[kind][0] + counts[kind][1], 15, kind);
    }
    assertGreater(share("prose", of), LEAST - 1e-9);
    assertGreater(share("code", 1 - of), LEAST - 1e-9);
  }));
