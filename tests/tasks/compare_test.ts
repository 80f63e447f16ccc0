import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { compareRuns } from "../../pipeline/comparison/mod.ts";
import { EVALUATION, SEQUENCES } from "../../pipeline/graph/mod.ts";
import { comparisonText } from "../../tasks/compare_text.ts";
import { words } from "../../tasks/wording.ts";
import { changeEvaluation, removeEvaluation, writeComparedRun } from "../pipeline/comparison/support.ts";
import { inFolder, refusal, task } from "./support.ts";

Deno.test("deno task compare prints tables, JSON and a page, and refuses with exit code 2 what it cannot compare", () =>
  inFolder(async (folder) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    await writeComparedRun(a, { sources: { code: 10 }, perplexity: 20 });
    await writeComparedRun(b, { settings: { partitioner: "ctbm" }, sources: { code: 12 } });
    await writeComparedRun(c, { tokens: [9, 9], settings: { seed: 1 } });

    const page = `${folder}/compare.html`;
    const reported = await task("compare", [a, b, "--output", page]);
    assertEquals([reported.code, reported.err], [0, ""]);
    for (
      const line of [
        /^setting +a +b\n--partitioner +em +ctbm$/m,
        /^a +\S+ +em +4 +3,251,200$/m,
        /^a +1,000 +0\.\d+ +4\.700 +0\.0300 +0\.6% +[\d.]+%$/m,
        /^a +64 +20\.00 +18\.00 to 22\.00 .* 3 of 3$/m,
        /^code +12,700 +10\.00 \* +12\.00$/m,
        /^4 +62\.00 +62\.00$/m,
        /^a +train-dense +out of date .*deno task train-dense --run /m,
        /^a +train-expert-00 and 3 more +out of date .*deno task train-expert .* --expert all/m,
      ]
    ) assertMatch(reported.out, line);
    assertStringIncludes(reported.out, `page: ${page}`);
    assertStringIncludes(await Deno.readTextFile(page), "2 SmallTalk runs side by side");

    const json = JSON.parse((await task("compare", [a, b, "--json"])).out);
    assertEquals(json.runs.map(({ wins }: { wins: number }) => wins), [3, 2]);
    assertEquals(json.settings, [{ setting: "partitioner", values: ["em", "ctbm"] }]);
    assertMatch(json.runs[0].lacks[0].command, /^deno task \S+ .*--run /);

    for (
      const [args, message] of [
        [[], /at least two must be named: none is named\n$/],
        [[a, a], /is named twice\n$/],
        [[a, `${folder}/none`], /must be a run folder: there is no such folder; run deno task partition/],
        [[a, b, "--output", "-"], /^error: Cannot write the page as --output must name a file: it is -\n$/],
        [
          [a, c],
          /must be the same: .*--text-seed 0 and 1; make one of them anew[^\n]*\n$/,
        ],
      ] as const
    ) {
      const { code, text } = await refusal("compare", args);
      assertEquals(code, 2, text);
      assertMatch(`${text}\n`, message);
    }
  }));

/** Compares runs; gives what is printed, and the page without the tags of its words. */
async function reported(runs: string[]): Promise<{ text: string; page: string }> {
  const output = `${runs[0]}/../compare.html`;
  const text = comparisonText(await compareRuns({ runs, output, words }));
  return { text, page: (await Deno.readTextFile(output)).replace(/<\/?(span|code)[^>]*>/g, "") };
}

Deno.test("a comparison reports which runs and sources stand apart, and why, on the page and on the terminal alike", () =>
  inFolder(async (folder) => {
    const runs = ["a", "b", "c", "d"].map((name) => `${folder}/${name}`);
    const [a, b, c, d] = runs;
    for (const [i, run] of runs.entries()) {
      await writeComparedRun(run, {
        sources: { code: 10 + i, fiction: 20 + i, news: 30 + i },
        settings: run === c ? { partitioner: "source", sourceField: "label" } : {},
      });
    }
    await Deno.remove(`${d}/${SEQUENCES}`, { recursive: true });
    await removeEvaluation(d);
    await changeEvaluation(b, ({ sources: [code, fiction, news], ...own }) => ({
      ...own,
      sources: [{ ...code, perplexity: { mixture: null } }, fiction, { ...news, source: "press" }],
    }));
    const { text, page } = await reported(runs);
    for (
      const note of [
        "The true labels of held-out text route it in c: no prompt has such a label",
        "Not compared: 2 of 4 sources, which not all runs have with as many tokens",
        "; the manifests of d do not describe it",
      ]
    ) {
      assertStringIncludes(text, note);
      assertStringIncludes(page, note);
    }
    assertMatch(text, /^code +12,700 +10\.00 \* +- +12\.00 +-$/m);
    assertMatch(text, /^c +label +45\.25 /m);
    assertMatch(text, /^prefix +a +b$/m);

    await changeEvaluation(b, (own) => ({ ...own, trained: [0] }));
    const part = await reported([a, b]);
    const note =
      `b is evaluated only on the text that goes to 1 of 4 experts, so it is not compared: run deno task evaluate --run ${b} once the others are trained`;
    for (const said of [part.text, part.page]) assertStringIncludes(said, note);
    assertMatch(part.text, /^b +- +in part +- .* -$/m);
    await changeEvaluation(c, ({ sources: [code], ...own }) => ({
      ...own,
      sources: [{ ...code, source: "", tokens: own.tokens }],
    }));
    assertStringIncludes(
      (await reported([c, a])).text,
      "The text of c has no labels, so sources are not compared",
    );
  }));

Deno.test("a comparison puts mixtures next to the first one, document by document, and refuses damaged documents", () =>
  inFolder(async (folder) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    await writeComparedRun(a, { documents: [1, 5, 9] });
    await writeComparedRun(b, { documents: [0.9, 4.9, 8.9] }); // a tenth of a nat less each: 9.5%
    await writeComparedRun(c, { documents: [1, 14] });
    const { text, page } = await reported([c, a, b]); // the first one that has a partner is the reference
    assertMatch(text, /^run +M +perplexity +95% interval +against a +/m);
    assertMatch(text, /^b +64 +45\.25 +[\d.]+ to [\d.]+ +9\.5% lower \[9\.5%, 9\.5%\] /m);
    assertMatch(text, /^a +64 +45\.25 +[\d.]+ to [\d.]+ +- /m);
    assertStringIncludes(text, "(c cuts the text into other documents, so it is not compared by document)");
    assertStringIncludes(page, 'id="plot-against-first"');
    assertEquals((await reported([c, a])).page.includes('id="plot-against-first"'), false);
    await writeComparedRun(c, { documents: [1, 5, 9] });
    assertMatch((await reported([a, c])).text, /^c .* equal +/m);
    const path = `${b}/${EVALUATION}/evaluation.arrow`;
    const bytes = await Deno.readFile(path);
    for (const damage of ["flip", "gone"]) {
      if (damage === "gone") await Deno.remove(path);
      else await Deno.writeFile(path, bytes.with(bytes.length >> 1, bytes[bytes.length >> 1] ^ 4));
      const { code, text } = await refusal("compare", [a, b]);
      assertEquals(code, 2, text);
      assertMatch(
        `${text}\n`,
        /^error: .*\/b\/evaluation\/result\/evaluation\.arrow.*; run deno task evaluate --run .*\n$/,
      );
    }
  }));
