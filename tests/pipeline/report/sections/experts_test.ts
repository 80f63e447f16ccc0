import { assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import type { ExpertName } from "../../../../pipeline/partition/names.ts";
import { expertsSection } from "../../../../pipeline/report/sections/experts.ts";
import { markup } from "../../../../pipeline/report/html.ts";
import { readRun } from "../../../../pipeline/report/read.ts";
import type { Samples } from "../../../../pipeline/report/samples.ts";
import { inFolder } from "../../../tasks/support.ts";
import { writeRun } from "../support.ts";

const text = (cost: number, text: string) => ({ sequence: "7", source: "news", cost, text });
const NAME: Omit<ExpertName, "expert"> = {
  sampled: 512,
  terms: [
    { text: "harbour", logOdds: 2.345, share: 0.25, shareOfRest: 0.01 },
    { text: '"<b>\\n"', logOdds: 1.5, share: 0.2, shareOfRest: 0.02 },
  ],
  likeliest: [text(1.25, "first line\n\tsecond <script>alert(1)</script>\u202e")],
  leastLikely: [text(6.5, "last")],
};

/** Writes the section of a run whose experts have these names. */
async function sectionOf(names: (Omit<ExpertName, "expert">)[] | null, samples?: Samples): Promise<string> {
  let page = "";
  await inFolder(async (run) => {
    await writeRun(run);
    const record = await readRun(run);
    const [section] = expertsSection({
      ...record,
      names: names && names.map((name, expert) => ({ ...name, expert })),
    }, samples);
    page = markup`${section.lead}`.text;
  });
  return page;
}

Deno.test("expertsSection() calls every expert after its words, with its sources and texts, escaped", async () => {
  const nothing = { ...NAME, terms: [], likeliest: [], leastLikely: [] };
  const page = await sectionOf([NAME, nothing, NAME, NAME]);
  assertStringIncludes(page, "Expert 0: harbour, &quot;&lt;b&gt;\\n&quot;</h3>");
  assertStringIncludes(page, "Expert 1</h3>");
  const terms = ["a", "b", "c", "d", "e"].map((text) => ({ ...NAME.terms[0], text }));
  const many = await sectionOf([{ ...NAME, terms }, nothing, nothing, nothing]);
  assertStringIncludes(many, "Expert 0: a, b, c, d</h3>"); // as many as the table of a partition
  assertStringIncludes(many, "<dt>words</dt><dd>a, b, c, d, e</dd>");
  assertStringIncludes(page, "none sets it apart");
  assertMatch(page, /<dt>sources<\/dt><dd>(?:\w+ \d+%(?:, )?)+<\/dd>/);
  assertStringIncludes(page, "1.250 nats per prefix token; sequence 7, news");
  assertStringIncludes(
    page,
    "<pre>first line\n\tsecond &lt;script&gt;alert(1)&lt;/script&gt;\ufffd</pre>",
  );
  assertStringIncludes(page, "25.0%");
  assertEquals([...page.matchAll(/<details>/g)].length, 3 * 2);
});

Deno.test("expertsSection() says so where the shards are not there, and nothing without a partition", async () => {
  assertStringIncludes(await sectionOf(null), "as the shards of their parts");
  await inFolder(async (run) => {
    await writeRun(run);
    const record = await readRun(run); // whose partition has manifests alone
    assertEquals(record.names, null);
    assertEquals(expertsSection({ ...record, partition: null }), []);
  });
});

Deno.test("expertsSection() of one expert says that nothing sets it apart", async () => {
  const page = await sectionOf([{ ...NAME, terms: [] }]);
  assertStringIncludes(page, "no words set it apart");
  assertFalse(page.includes("log-odds"));
});

Deno.test("expertsSection() lists words by log-odds in their table, whatever their order elsewhere", async () => {
  const term = (text: string, logOdds: number) => ({ text, logOdds, share: 0.5, shareOfRest: 0.1 });
  const names = { ...NAME, terms: [term("surest", 1.5), term("oddest", 2.5), term("last", 0.5)] };
  const page = await sectionOf([names, names, names, names]);
  assertStringIncludes(page, "<dt>words</dt><dd>surest, oddest, last</dd>");
  assertEquals(
    [...page.matchAll(/<tr><td>(\w+)<\/td>/g)].map(([, word]) => word).slice(0, 3),
    ["oddest", "surest", "last"],
  );
});

Deno.test("expertsSection() shows what experts wrote, escaped, or why they wrote nothing", async () => {
  const texts = new Map([[0, "\n\n  <script>alert(1)</script>\u202e\n"], [2, " \n"]]);
  for (const names of [[NAME, NAME, NAME, NAME], null]) {
    const page = await sectionOf(names, { tokens: 48, texts });
    assertStringIncludes(page, "<pre>  &lt;script&gt;alert(1)&lt;/script&gt;\ufffd</pre>");
    assertStringIncludes(page, "nothing: it ends the document at once");
    assertStringIncludes(page, "has 48 tokens at most");
    assertEquals([...page.matchAll(/<dt>writes/g)].length, names ? 2 : 0);
  }
  const reason = "there is no device: no driver";
  const none = await sectionOf(null, { tokens: 48, texts: new Map(), reason });
  assertStringIncludes(none, "No expert has written a text, as there is no device: no driver.");
  assertFalse(none.includes("tokens at most"));
  const some = await sectionOf(null, { tokens: 48, texts, reason });
  assertStringIncludes(
    some,
    "Not every expert has written a text, as there is no device: no driver. What an",
  );
  assertFalse((await sectionOf(null, { tokens: 0, texts: new Map() })).includes("write"));
});
