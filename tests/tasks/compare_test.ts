import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { compareRuns } from "../../pipeline/comparison/mod.ts";
import { comparisonText } from "../../tasks/compare_text.ts";
import { words } from "../../tasks/wording.ts";
import { changeEvaluation, writeComparedRun } from "../pipeline/comparison/support.ts";
import { inFolder, task } from "./support.ts";

Deno.test("deno task compare prints tables, JSON and a page, and refuses with exit code 2 what it cannot compare", async () => {
  await inFolder(async (folder) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    await writeComparedRun(a, { sources: { code: 10 }, perplexity: 20 });
    await writeComparedRun(b, { settings: { partitioner: "ctbm" }, sources: { code: 12 } });
    await writeComparedRun(c, { tokens: [9, 9], settings: { seed: 1 } });

    const page = `${folder}/compare.html`;
    const told = await task("compare", [a, b, "--output", page]);
    assertEquals([told.code, told.err], [0, ""]);
    assertMatch(told.out, /^setting +a +b\n--partitioner +em +ctbm\n/);
    assertMatch(told.out, /^a +em +4 +1,000 +0\.358 +4\.700 +0\.0300 +0\.6% +3,251,200$/m);
    assertMatch(told.out, /^a +64 +20\.00 +18\.00 to 22\.00 .* 3 of 3$/m);
    assertMatch(told.out, /^code +12,700 +10\.00 \* +12\.00$/m);
    assertMatch(told.out, /^a: train-dense is missing: run deno task train-dense --run /m);
    assertMatch(
      told.out,
      /^a: train-expert-00 and 3 more are .*: run deno task train-expert .* --expert all$/m,
    );
    assertStringIncludes(told.out, `page: ${page}`);
    assertStringIncludes(await Deno.readTextFile(page), "2 SmallTalk runs side by side");

    const json = JSON.parse((await task("compare", [a, b, "--json"])).out);
    assertEquals(json.runs.map(({ wins }: { wins: number }) => wins), [3, 2]);
    assertEquals(json.settings, [{ setting: "partitioner", values: ["em", "ctbm"] }]);
    const { command } = json.runs[0].lacks[0];
    assertMatch(command, /^deno task \S+ .*--run /);

    for (
      const [args, message] of [
        [[], /^error: Cannot compare runs as at least two must be named: none is named\n$/],
        [[a, a], /is named twice\n$/],
        [
          [a, `${folder}/none`],
          /as it must be a run folder: there is no such folder; run deno task partition/,
        ],
        [[a, b, "--output", "-"], /^error: Cannot write the page as --output must name a file: it is -\n$/],
        [
          [a, c],
          /held-out tokens must be the same: .*--text-seed 0 and 1; .*deno task partition with the same --text-seed\n$/,
        ],
      ] as const
    ) {
      const { code, out, err } = await task("compare", [...args]);
      assertEquals([code, out], [2, ""], err);
      assertMatch(err, message);
    }
  });
});

/** Compares runs; gives what is printed, and the page without the tags of its words. */
async function toldOf(runs: string[]): Promise<{ text: string; page: string }> {
  const output = `${runs[0]}/../compare.html`;
  const text = comparisonText(await compareRuns({ runs, output, words }));
  return { text, page: (await Deno.readTextFile(output)).replace(/<\/?(span|code)[^>]*>/g, "") };
}

Deno.test("a comparison names the runs that do not tell what they hold out", async () => {
  await inFolder(async (folder) => {
    const runs = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    for (const run of runs) await writeComparedRun(run);
    for (const stage of ["tokenize", "evaluate"]) await Deno.remove(`${runs[2]}/manifests/${stage}.json`);
    const { text, page } = await toldOf(runs);
    assertMatch(
      text,
      /^held-out text: the same tokens in all runs that tell, SHA-256 \w{12}, 1,092 sequences; c tells of none$/m,
    );
    assertMatch(
      page,
      /All runs that tell hold out the same tokens \(SHA-256 \w{12}, 1,092 sequences\); c tells of none\./,
    );
    const alike = await toldOf(runs.slice(0, 2));
    assertMatch(
      alike.text,
      /^held-out text: the same tokens in all runs, SHA-256 \w{12}, 1,092 sequences$/m,
    );
    assertMatch(alike.page, /All runs hold out the same tokens \(SHA-256 \w{12}, 1,092 sequences\)\./);
  });
});

Deno.test("a comparison says which sources it leaves out, and an empty cell stands for no perplexity", async () => {
  await inFolder(async (folder) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    for (const [i, run] of [a, b, c].entries()) {
      await writeComparedRun(run, { sources: { code: 10 + i, fiction: 20 + i, news: 30 + i } });
    }
    await changeEvaluation(b, ({ sources: [code, fiction, news], ...own }) => ({
      ...own,
      sources: [
        { ...code, perplexity: { ...code.perplexity, mixture: null } },
        fiction,
        { ...news, source: "press" },
      ],
    }));
    const { text, page } = await toldOf([a, b, c]);
    assertMatch(text, /^code +12,700 +10\.00 \* +- +12\.00$/m);
    assertStringIncludes(
      page,
      '<td>code</td><td class="n">12,700</td><td><strong>10.00</strong></td><td></td><td>12.00</td>',
    );
    const why = "2 of 4 sources are not compared, as not all runs have them with as many tokens";
    assertStringIncludes(text, `(*: the lowest perplexity of a source)\n(${why})\n`);
    assertStringIncludes(page, `<p>${why}.</p>`);

    await changeEvaluation(b, ({ sources: [code], ...own }) => ({
      ...own,
      sources: [{ ...code, source: "", tokens: own.tokens }],
    }));
    const apart = await toldOf([b, a]);
    assertMatch(apart.text, /^a +64 .* -$/m);
    assertStringIncludes(apart.text, "\n\n(b has no labels, so sources are not compared)\n\n");
    assertStringIncludes(apart.page, "<p>b has no labels, so sources are not compared.</p>");
  });
});

Deno.test("a comparison says which runs are evaluated on a part of the text, in place of their perplexity", async () => {
  await inFolder(async (folder) => {
    const [a, b] = ["a", "b"].map((name) => `${folder}/${name}`);
    for (const run of [a, b]) await writeComparedRun(run, { perplexity: 20 });
    const trained = (run: string) => changeEvaluation(run, (own) => ({ ...own, trained: [0] }));
    await trained(b);
    const note =
      `b is evaluated only on the text that goes to 1 of 4 experts, so it is not compared: run deno task evaluate --run ${b} once the others are trained`;
    const { text, page } = await toldOf([a, b]);
    assertMatch(text, /^a +64 +20\.00 .* -\nb +- +in part +- .* -$/m);
    assertStringIncludes(text, `\n(${note})\n`);
    assertStringIncludes(page, `<p>${note}.</p>`);
    assertEquals(/<td>b<\/td><td>\d/.test(page.split("Held-out text")[1]), false);

    await trained(a);
    const none = await toldOf([a, b]);
    assertStringIncludes(none.text, `\n(${note})\n`);
    assertStringIncludes(none.page, "No run is evaluated on all its held-out text yet.");
    assertStringIncludes(none.page, `<p>${note}.</p>`);
  });
});

Deno.test("a comparison says that labels route a run that is split by source, and shows none of its prefixes", async () => {
  await inFolder(async (folder) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    await writeComparedRun(a);
    for (const run of [b, c]) await writeComparedRun(run, { settings: { partitioner: "source" } });
    const { text, page } = await toldOf([a, b]);
    const note = "b routes held-out text by its true labels, which no prompt has, and not by M tokens";
    assertMatch(text, /^a +64 +45\.25 .*\nb +label +45\.25 .*\n\(b routes /m);
    assertStringIncludes(text, `\n(${note})\n`);
    assertMatch(text, /^prefix +a\n4 +62\.00$/m);
    assertStringIncludes(page, `<p>${note}.</p>`);
    assertMatch(page, /routes by that many tokens, with its 95% interval\. Of a\./);

    const byLabel = await toldOf([b, c]);
    assertEquals([byLabel.text.includes("prefix "), byLabel.page.includes("prefix-perplexity")], [
      false,
      false,
    ]);
  });
});

Deno.test("a comparison puts mixtures beside the first one, document by document, and names runs without documents", async () => {
  await inFolder(async (folder) => {
    const [a, b, c] = ["a", "b", "c"].map((name) => `${folder}/${name}`);
    await writeComparedRun(a, { documents: [1, 5, 9] });
    await writeComparedRun(b, { documents: [0.9, 4.9, 8.9] }); // a tenth of a nat less each: 9.5%
    await writeComparedRun(c);
    const note =
      `c is not put beside others, as an older version evaluated it and kept nothing of single documents: run deno task evaluate --run ${c} --force, with the options that it had`;
    const { text, page } = await toldOf([a, b, c]);
    assertMatch(text, /^run +M +perplexity +95% interval +beside a +/m);
    assertMatch(text, /^b +64 +45\.25 +[\d.]+ to [\d.]+ +9\.5% lower \[9\.5%, 9\.5%\] /m);
    assertMatch(text, /^a +64 +45\.25 +[\d.]+ to [\d.]+ +- /m);
    assertStringIncludes(text, `\n(${note})\n`);
    assertStringIncludes(page, `<p>${note}.</p>`);
    assertStringIncludes(page, "<td>9.5% lower [9.5%, 9.5%]</td>");
    assertStringIncludes(page, 'id="plot-beside"');

    const alone = await toldOf([c, a]); // there is no pair
    assertEquals([alone.text.includes("beside a"), alone.page.includes('id="plot-beside"')], [false, false]);
    assertStringIncludes(alone.text, `\n(${note})\n`);

    await writeComparedRun(c, { documents: [1, 14] });
    const cut = await toldOf([c, a, b]); // the first one that has a partner is the reference
    assertStringIncludes(cut.text, "\n(c is not put beside a, as it cuts the text into other documents)\n");
    const unlike = await toldOf([c, a]);
    assertStringIncludes(
      unlike.text,
      "\n(c is not put beside others, as it cuts the text into other documents)\n",
    );

    await writeComparedRun(c, { documents: [1, 5, 9] });
    assertMatch((await toldOf([a, c])).text, /^c .* equal +/m);
    await changeEvaluation(c, (own) => ({ ...own, tokens: 4 }));
    const path = `${b}/evaluation.arrow`;
    const bytes = await Deno.readFile(path);
    const remedies = {
      [c]:
        /^error: .*must be of the evaluation in evaluation\.json: 3 documents, 3 tokens, 5\.000000 nats per token in the former, 3 documents, 4 tokens, .*; run deno task evaluate --run \S+ --force\n$/,
      [b]: /^error: .*\/b\/evaluation\.arrow.*; run deno task evaluate --run .*\n$/,
    };
    for (const damage of ["flip", "gone"]) {
      if (damage === "gone") await Deno.remove(path);
      else await Deno.writeFile(path, bytes.with(bytes.length >> 1, bytes[bytes.length >> 1] ^ 4));
      for (const [run, message] of Object.entries(remedies)) {
        const { code, out, err } = await task("compare", [a, run]);
        assertEquals([code, out], [2, ""], err);
        assertMatch(err, message);
      }
    }
  });
});
