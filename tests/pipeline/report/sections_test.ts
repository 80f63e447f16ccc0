import { assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import type { ExpertName } from "../../../pipeline/partition/names.ts";
import { markup } from "../../../pipeline/report/html.ts";
import { readRun } from "../../../pipeline/report/read.ts";
import type { Samples } from "../../../pipeline/report/samples.ts";
import { experts } from "../../../pipeline/report/sections/experts.ts";
import { inFolder } from "../../tasks/support.ts";
import { writeRun } from "./support.ts";

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

Deno.test("the section of experts calls each after its words, with its sources and texts, escaped, and what it wrote", () =>
  inFolder(async (run) => {
    await writeRun(run);
    const record = await readRun(run);
    const none: Samples = { tokens: 0, texts: new Map() };
    const section = (names: (Omit<ExpertName, "expert">)[] | null, samples = none) => {
      const named = names && names.map((name, expert) => ({ ...name, expert }));
      return markup`${experts.text({ ...record, names: named, samples })}`.text;
    };
    const page = section([NAME, NOTHING, NAME, NAME]);
    const texts = [
      ...["Expert 0: harbour, &quot;&lt;b&gt;\\n&quot;</h3>", "Expert 1</h3>", "none sets it apart"],
      "1.250 nats per prefix token; sequence 7, news",
      "<pre>first line\n\tsecond &lt;script&gt;alert(1)&lt;/script&gt;\ufffd</pre>",
    ];
    for (const text of texts) assertStringIncludes(page, text);
    assertMatch(page, /<dt>sources<\/dt><dd>(?:\w+ \d+%(?:, )?)+<\/dd>/);
    const words = [...page.matchAll(/<tr><td>([^<]+)<\/td>/g)].map(([, word]) => word);
    assertEquals(words.slice(0, 2), ["&quot;&lt;b&gt;\\n&quot;", "harbour"]); // by log-odds
    assertFalse(section([NOTHING]).includes("log-odds")); // nothing sets one expert apart

    const samples = {
      tokens: 48,
      texts: new Map([[0, "\n\n  <script>alert(1)</script>\u202e\n"], [2, " \n"]]),
    };
    for (const names of [[NAME, NAME, NAME, NAME], null]) {
      const page = section(names, samples);
      assertStringIncludes(page, "<pre>  &lt;script&gt;alert(1)&lt;/script&gt;\ufffd</pre>");
      assertStringIncludes(page, "nothing: it ends the document at once");
      assertEquals([...page.matchAll(/<dt>writes/g)].length, names ? 2 : 0);
    }
    const reason = "there is no device";
    assertStringIncludes(
      section(null, { ...none, reason }),
      "No expert has written a text, as there is no device.",
    );
    assertStringIncludes(section(null, { ...samples, reason }), "Not every expert has written");
    assertFalse(section(null).includes("write"));
  }));
