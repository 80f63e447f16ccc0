import { assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import type { ExpertName } from "../../../../pipeline/partition/names.ts";
import { markup } from "../../../../pipeline/report/html.ts";
import { readRun } from "../../../../pipeline/report/read.ts";
import type { Samples } from "../../../../pipeline/report/samples.ts";
import { experts } from "../../../../pipeline/report/sections/experts.ts";
import { inFolder } from "../../../tasks/support.ts";
import { writeRun } from "../support.ts";

const text = (cost: number, text: string) => ({ sequence: "7", source: "news", cost, text });
const NAME: Omit<ExpertName, "expert"> = {
  sampled: 512,
  terms: [
    { text: "harbour", logOdds: 1.345, share: 0.25, shareOfRest: 0.01 },
    { text: '"<b>\\n"', logOdds: 2.5, share: 0.2, shareOfRest: 0.02 },
  ],
  likeliest: [text(1.25, "first line\n\tsecond <script>alert(1)</script>\u202e")],
  leastLikely: [text(6.5, "last")],
};
const NOTHING = { ...NAME, terms: [], likeliest: [], leastLikely: [] };
const NONE: Samples = { tokens: 0, texts: new Map() };

/** Writes the section of a run whose experts have these names. */
async function sectionOf(names: (Omit<ExpertName, "expert">)[] | null, samples = NONE): Promise<string> {
  let page = "";
  await inFolder(async (run) => {
    await writeRun(run);
    const named = names && names.map((name, expert) => ({ ...name, expert }));
    page = markup`${experts.text({ ...await readRun(run), names: named, samples })}`.text;
  });
  return page;
}

Deno.test("the section of experts calls each after its words, with its sources and texts, escaped", async () => {
  const page = await sectionOf([NAME, NOTHING, NAME, NAME]);
  assertStringIncludes(page, "Expert 0: harbour, &quot;&lt;b&gt;\\n&quot;</h3>");
  assertStringIncludes(page, "Expert 1</h3>");
  assertStringIncludes(page, "none sets it apart");
  assertMatch(page, /<dt>sources<\/dt><dd>(?:\w+ \d+%(?:, )?)+<\/dd>/);
  assertStringIncludes(page, "1.250 nats per prefix token; sequence 7, news");
  assertStringIncludes(page, "<pre>first line\n\tsecond &lt;script&gt;alert(1)&lt;/script&gt;\ufffd</pre>");
  const words = [...page.matchAll(/<tr><td>([^<]+)<\/td>/g)].map(([, word]) => word);
  assertEquals(words.slice(0, 2), ["&quot;&lt;b&gt;\\n&quot;", "harbour"]); // by log-odds
  assertEquals([...page.matchAll(/<details>/g)].length, 3 * 2);
  assertFalse((await sectionOf([NOTHING])).includes("log-odds")); // nothing sets one expert apart
});

Deno.test("the section of experts shows what they wrote, escaped, or why they wrote nothing", async () => {
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
  assertStringIncludes(await sectionOf(null, { tokens: 48, texts, reason }), "Not every expert has written");
  assertFalse((await sectionOf(null)).includes("write"));
});
