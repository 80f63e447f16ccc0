import { assertEquals, assertFalse, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import type { ZeroShotResult } from "../../../pipeline/evaluation/choices/results.ts";
import type { ExpertName } from "../../../pipeline/partition/names.ts";
import { markup } from "../../../pipeline/report/html.ts";
import { readRun } from "../../../pipeline/report/read.ts";
import type { Samples } from "../../../pipeline/report/samples.ts";
import { experts } from "../../../pipeline/report/sections/experts.ts";
import { overlap } from "../../../pipeline/report/sections/overlap.ts";
import { training } from "../../../pipeline/report/sections/training.ts";
import { zeroShot } from "../../../pipeline/report/sections/zero_shot.ts";
import type { Overlap } from "../../../pipeline/stages/overlap.ts";
import { overlapText } from "../../../tasks/overlap_text.ts";
import { inFolder } from "../../tasks/support.ts";
import { writeNode, writeRun } from "./support.ts";

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

const LAYERS = 2; // those of the run's settings
const LINES = [10, 20, 30, 40, 50].map((step, i) => ({
  ...{ step, tokens: 100 * step, loss: 5 - i, rate: 0.003, norm: 1 },
  reports: {
    ...{ balanceLoss: 0.02, balance: LAYERS * (1.5 - i / 10) },
    ...{ routed: LAYERS * 1000, dropped: LAYERS * (200 - 40 * i) },
  },
}));

Deno.test("the section of trainings tells balance, dropped tokens and memory of a Switch Transformer", () =>
  inFolder(async (run) => {
    await writeRun(run);
    const tables = async (lines: object[], memory?: Record<string, number>) => {
      const needs = { training: 1, expertTraining: 1, inference: 5e6, expertInference: 2e6, ...memory };
      const cost = {
        parameters: 1,
        training: 1,
        mixture: 1,
        inference: 1,
        expertInference: 1,
        memory: needs,
      };
      const result = {
        folder: "switch",
        steps: 50,
        batch: 2,
        tokens: 5000,
        rate: 0.003,
        loss: 1,
        resumed: [],
      };
      await writeNode(run, "switch", {
        files: { "metrics.jsonl": lines.map((line) => `${JSON.stringify(line)}\n`).join("") },
        manifest: { result: { ...result, validationLoss: null, ...memory ? { cost } : {} } },
      });
      return markup`${training.tables!(await readRun(run))}`.text;
    };
    const text = await tables(LINES);
    const rows = text.matchAll(
      /<tr><td[^>]*>([^<]*)<\/td><td[^>]*>([^<]*)<\/td><td[^>]*>([^<]*%)<\/td><\/tr>/g,
    );
    const cells = [...rows].map(([, ...cells]) => cells);
    assertEquals(cells, [["10", "1.500", "20.0%"], ["30", "1.300", "12.0%"], ["50", "1.100", "4.0%"]]);
    assertFalse(text.includes("memory"));
    const routed = await tables(LINES, { routing: 1e6 });
    assertMatch(routed, /takes 5\sMB of memory, the mixture 3\sMB: one expert/);
    assertMatch(await tables(LINES, {}), /takes 5\sMB of memory, one expert 2\sMB\./);
    assertFalse((await tables(LINES.map(({ reports: _, ...line }) => line))).includes("Routing"));
  }));

const measure = (value: number) => ({ value, low: value - 0.125, high: value + 0.125, standardError: 0.06 });

/** What a task came to, the mixture ahead of the dense model by so much. */
const resultOf = (task: string, ahead: number, more: Partial<ZeroShotResult> = {}) => ({
  ...{ format: 1, task, questions: 200, published: 200, fewShot: 0, routing: "context", prefix: 64 },
  ...{
    experts: 4,
    cut: 0,
    chance: 0.25,
    resamples: 1000,
    seed: 0,
    shares: [0.25, 0.25, 0.25, 0.25],
    sets: [],
  },
  ways: {
    ...{ mixture: { acc: measure(0.5) }, dense: { acc: measure(0.5 - ahead) } },
    "top-2": { acc: measure(0.625) },
  },
  differences: [{ baseline: "dense", metric: "acc", value: ahead, low: ahead - 0.1, high: ahead + 0.1 }],
  ...more,
});

Deno.test("the section of zero-shot tasks tells what every task came to, and against each dense model; none where none was asked", () =>
  inFolder(async (run) => {
    await writeRun(run);
    assertEquals(zeroShot.when!(await readRun(run)), false);
    const perplexity = { ...measure(80), low: 70, high: 90 };
    const ways = { mixture: { acc: measure(0.25), perplexity } };
    const results = [
      ...[resultOf("shuffled_words", 0.25), resultOf("piqa", 0.05)],
      resultOf("lambada_openai", 0, { ways, chance: null, differences: [] }),
    ];
    for (const result of results) {
      const files = { [`${result.task}.json`]: JSON.stringify(result) };
      await writeNode(run, `zero-shot/${result.task}`, { files });
    }
    await Deno.writeTextFile(`${run}/zero-shot/notes.json`, "of the user");
    const page = markup`${zeroShot.text(await readRun(run))}`.text.replaceAll("\n", " ");
    const verdict =
      "Against dense, 4× batch the mixture is better on 1, equal within the interval on 1 and worse on 0.";
    assertStringIncludes(page, verdict);
    const cells = [...page.matchAll(/<t[dh](?: [^>]*)?>([^<]*)/g)].map(([, text]) => text);
    assertEquals(cells, [
      ...["task", "questions", "guessing", "answered by", "right", "perplexity"],
      ...["shuffled_words", "200", "25.0%", "mixture", "50.0% (37.5% to 62.5%)", ""],
      ...["", "", "", "2 experts together", "62.5% (50.0% to 75.0%)", ""],
      ...["", "", "", "dense, 4× batch", "25.0% (12.5% to 37.5%)", ""],
      ...["piqa", "200", "25.0%", "mixture", "50.0% (37.5% to 62.5%)", ""],
      ...["", "", "", "2 experts together", "62.5% (50.0% to 75.0%)", ""],
      ...["", "", "", "dense, 4× batch", "45.0% (32.5% to 57.5%)", ""],
      ...["lambada_openai", "200", "", "mixture", "25.0% (12.5% to 37.5%)", "80.00 (70.00 to 90.00)"],
    ]);
    await writeNode(run, "zero-shot/piqa", { files: { "piqa.json": '{"format": 1}' } });
    const { where, remedy } = await assertRejects(() => readRun(run), InputError);
    assertEquals(where, `${run}/zero-shot/piqa/piqa.json`);
    assertEquals(wordText(remedy!), `run task "zero-shot" with run "${run}", task "piqa", check`);
  }));

Deno.test("the section of duplicates and leaks has a row for each source and expert, and examples, escaped", () =>
  inFolder(async (run) => {
    await writeRun(run);
    const record = await readRun(run);
    assertEquals(overlap.when!(record), false);
    const tally = { documents: 90, copies: 1, near: 2, apart: 3, heldOut: 10, twins: 4, leaking: 5 };
    const all = { ...tally, words: 200, covered: 30 }, place = { path: "a.jsonl", place: 7 };
    const both = { one: { ...place, text: "<b>one" }, other: { ...place, text: "two" } };
    const found: Overlap = {
      ...{ format: 1, all, sources: { news: all, "": all }, experts: { mixed: all } },
      examples: [{ kind: "passage", share: 0.25, ...both }],
    };
    const page = markup`${overlap.text({ ...record, overlap: found })}`.text;
    for (const text of ["news", "(none)", "mixed", "15.0%", "a.jsonl:7", "&lt;b&gt;one", "passage 25.0%"]) {
      assertStringIncludes(page, text);
    }
    const printed = overlapText(run, {
      ...found,
      against: [{ file: "b.jsonl", length: 8, texts: 5, found: 3, words: 40, covered: 10 }],
    });
    for (
      const text of [
        "(none)",
        "a.jsonl:7: <b>one",
        "share 13 words in a row with one (15.0% of the words)",
        "b.jsonl",
        "25.0%",
      ]
    ) {
      assertStringIncludes(printed, text);
    }
  }));
