import {
  assert,
  assertEquals,
  assertFalse,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { drawPlot } from "../../../pipeline/report/draw.ts";
import type { Plot } from "../../../pipeline/report/plots.ts";
import {
  gainPlot,
  overheadPlot,
  perplexityPlot,
  prefixPlots,
  segmentPlot,
  sourcePlot,
} from "../../../pipeline/report/plots_evaluation.ts";
import { mixingPlots } from "../../../pipeline/report/plots_mixing.ts";
import { heatPlot, roundPlots, sharePlot } from "../../../pipeline/report/plots_routing.ts";
import { trainingPlots } from "../../../pipeline/report/plots_training.ts";
import { report } from "../../../pipeline/report/report.ts";
import { writeManifest } from "../../../pipeline/run/manifest.ts";
import { LIGHT, withValues } from "../../../pipeline/report/theme.ts";
import { hashes, inFolder, ROOT, task } from "../../tasks/support.ts";
import { words } from "../../../tasks/wording.ts";
import { evaluationOf, PERPLEXITY, SHAPE, writeRun } from "./support.ts";

const PLOTS = [
  "em-nll",
  "em-nmi",
  "em-regret",
  "em-shares",
  "shares",
  "sources-by-expert",
  "training-loss-by-tokens",
  "training-loss-by-steps",
  "validation-loss-by-tokens",
  "validation-loss-by-steps",
  "perplexity",
  "gain",
  "segments",
  "perplexity-by-source",
  "prefix-perplexity",
  "prefix-agreement",
  "margin-right",
  "margin-loss",
  "experts-together",
  "fallback",
  "overhead",
];

/** Writes the page of a run and reads it. */
async function pageOf(run: string): Promise<string> {
  const { output } = await report({ run, words, onWarning: (message) => assert(false, message) });
  return await Deno.readTextFile(output);
}

/** Gives the extents of a drawing's paths of one colour, in their order. */
function boxes(svg: string, colour: string): { width: number; height: number }[] {
  const paths = [...svg.matchAll(/<path[^>]* d="M[\d.]+,[^h]+h([\d.]+)v([\d.]+)h-[\d.]+Z"[^>]*>/g)];
  return paths.filter(([tag]) => tag.includes(`fill="${colour}"`)).map(([, width, height]) => ({
    width: Number(width),
    height: Number(height),
  }));
}

Deno.test("report() of a run whose tokenizer is not there says that no expert has written, and reports the rest", () =>
  inFolder(async (run) => {
    await writeRun(run);
    const identity = { stage: "train-expert-00", revision: 1, key: "key", configuration: {}, inputs: {} };
    await writeManifest(run, identity, { outputs: {}, result: {} });
    const page = await pageOf(run);
    assertStringIncludes(page, "No expert has written a text, as tokenizer.json is not there.");
    assertStringIncludes(page, 'id="plot-perplexity"');
  }));

const draw = (plot: Plot, width = 720) => drawPlot(plot, { width, id: "x" });

Deno.test("report() writes every plot of a whole run, once for wide and narrow pages each", async () => {
  await inFolder(async (run) => {
    await writeRun(run);
    const page = await pageOf(run);
    assertEquals([...page.matchAll(/<figure class="\w+" id="plot-([\w-]+)"/g)].map(([, id]) => id), PLOTS);
    const ids = [...page.matchAll(/ id="([^"]+)"/g)].map(([, id]) => id);
    assertEquals(new Set(ids).size, ids.length, "ids must be unique");
    for (
      const text of [
        "45.25",
        "52.13",
        "13.2% lower",
        "1.7% higher",
        "✓ holds",
        "✗ does not",
        "diverged",
        "an adapter",
      ]
    ) {
      assertStringIncludes(page, text);
    }
    assertMatch(page, /<td>higher<\/td><td[^>]*>1\.7<\/td><td[^>]*>0\.2<\/td><td[^>]*>3\.1<\/td>/);
    for (const [, title] of page.matchAll(/<svg[^>]*><title[^>]*>([^<]*)<\/title>/g)) {
      assert(title.length > 0);
    }
    assertFalse(page.includes('class="missing"'));
  });
});

Deno.test("report() gives the time and the speed of stages and trainings, where they are known", async () => {
  await inFolder(async (run) => {
    await writeRun(run);
    const without = await pageOf(run);
    assertStringIncludes(without, "<td>tokenize</td><td></td><td></td><td");
    assertMatch(without, /<td>expert 0<\/td><td[^>]*>400<\/td><td[^>]*>812,800<\/td><td><\/td><td><\/td>/);
    const times = [
      { stage: "tokenize", seconds: 200 },
      ...[100, 400].map((step) => ({ stage: "train-expert-00", step, seconds: 32 })),
    ];
    await Deno.writeTextFile(
      `${run}/metrics/timing.jsonl`,
      times.map((time) => JSON.stringify(time) + "\n").join(""),
    );
    const page = await pageOf(run);
    assertStringIncludes(page, "<td>tokenize</td><td>3 min 20 s</td><td>9,560 tokens/s</td><td");
    assertMatch(page, />812,800<\/td><td>1 min 4 s<\/td><td class="n">12,700<\/td>/);
    for (const stage of ["tokenize", "train-expert-00"]) {
      const copied = JSON.stringify({ stage, seconds: 0.055, copied: true });
      await Deno.writeTextFile(`${run}/metrics/timing.jsonl`, `${copied}\n`, { append: true });
    }
    const after = await pageOf(run);
    assertStringIncludes(after, "<td>tokenize</td><td>copied</td><td></td><td");
    assertMatch(after, />812,800<\/td><td>copied<\/td><td><\/td>/);
  });
});

Deno.test("report() draws an evaluation beside which no dense model stands, without a warning", async () => {
  await inFolder(async (run) => {
    await writeRun(run);
    const path = `${run}/evaluation.json`;
    const { scores: { dense: _, "dense-steps": __, ...scores }, ...rest } = JSON.parse(
      await Deno.readTextFile(path),
    );
    await Deno.writeTextFile(path, JSON.stringify({ ...rest, scores, gains: [] }));
    assertStringIncludes(await pageOf(run), 'id="plot-prefix-perplexity"');
  });
});

Deno.test("report() gives the same bytes for the same run, whichever way it is named", async () => {
  await inFolder(async (folder) => {
    await writeRun(`${folder}/run`);
    const first = await pageOf(`${folder}/run`);
    assertEquals(await pageOf(`${folder}/./run/`), first);
    const { code, err } = await task("report", ["--run", `${folder}/run`]);
    assertEquals(code, 0, err);
    assert(
      await Deno.readTextFile(`${folder}/run/report.html`) === first,
      "another process gives other bytes",
    );
  });
});

Deno.test("report() leaves out what is not there, with the command that makes it", async () => {
  await inFolder(async (run) => {
    await writeRun(run);
    const commands = async () =>
      (await report({ run, words })).missing.map(({ command }) => command?.split(" --run")[0]);
    assertEquals(await commands(), []);
    const steps: [path: string, command: string][] = [
      ["evaluation.json", "deno task evaluate"],
      ["metrics/dense-steps.jsonl", "deno task train-dense --match steps"],
      ["metrics/dense.jsonl", "deno task train-dense"],
      ["metrics/expert-01.jsonl", "deno task train-expert --expert all"],
      ["partition", "deno task partition"],
      ["metrics/rounds.jsonl", "deno task train-routers"],
    ];
    for (const [path, command] of steps) {
      await Deno.remove(`${run}/${path}`, { recursive: true });
      assert((await commands()).includes(command), command);
      assertStringIncludes((await pageOf(run)).replace(/<\/?span[^>]*>/g, ""), command);
    }
    await Deno.remove(`${run}/metrics`, { recursive: true });
    await Deno.remove(`${run}/reproduction.json`);
    const page = await pageOf(run); // a run whose text alone is there
    assertEquals([...page.matchAll(/<figure/g)].length, 1); // costs need no more
  });
});

Deno.test("report() refuses a folder in which nothing was made, with what to run first", async () => {
  await inFolder(async (run) => {
    await writeRun(run);
    for (const part of ["metrics", "manifests", "partition", "evaluation.json", "reproduction.json"]) {
      await report({ run });
      await Deno.remove(`${run}/${part}`, { recursive: true });
    }
    await Deno.remove(`${run}/report.html`);
    await Deno.mkdir(`${run}/corpus`); // an attempt that failed leaves folders
    const { code, out, err } = await task("report", ["--run", run]);
    assertEquals([code, out], [2, ""], err);
    assertMatch(err, /^error: Cannot report on [^\n]*; run deno task partition --run \S+ first\n$/);
    assertFalse((await Array.fromAsync(Deno.readDir(run))).some(({ name }) => name === "report.html"));
  });
});

Deno.test("report() escapes what data says", async () => {
  await inFolder(async (run) => {
    const hostile = [
      "<script>alert(1)</script>",
      `"><img src=x onerror=alert(1)>`,
      "a\u0000b\u202ec",
      "",
      "'); datum.x",
    ];
    await writeRun(run, { ...SHAPE, sources: hostile });
    const { plots } = await report({ run, plots: `${run}/plots` });
    const texts = [await pageOf(run), ...await Promise.all(plots.map((path) => Deno.readTextFile(path)))];
    for (const text of texts) {
      assertFalse(
        /<script|<img|\son\w+=["x]/i.test(text.replace(/&lt;.*?&gt;/g, "")),
        "markup of a source got through",
      );
      // deno-lint-ignore no-control-regex
      assertFalse(/[\x00\u202e]/.test(text));
    }
    assertStringIncludes(texts[0], "&lt;script&gt;alert(1)&lt;/script&gt;");
    assertStringIncludes(texts[0], "(no source)");
  });
});

Deno.test("report() needs nothing from anywhere: no script, no address to load from", async () => {
  await inFolder(async (run) => {
    await writeRun(run);
    const page = await pageOf(run);
    assertFalse(/<script|<link(?! rel="icon" href="data:,")|<iframe|<object|@import|url\((?!#)/i.test(page));
    const addresses = [...page.matchAll(/(?:src|href)="([^"#][^"]*)"/g)].map(([, address]) => address);
    assertEquals(addresses, ["data:,"]);
    assertStringIncludes(
      page,
      `content="default-src &#39;none&#39;; style-src &#39;unsafe-inline&#39;; img-src data:"`,
    );
  });
});

Deno.test("report() writes each plot as a file with title, paper and colours of its own", async () => {
  await inFolder(async (run) => {
    await writeRun(run);
    const { plots } = await report({ run, output: `${run}/page.html`, plots: `${run}/plots` });
    assertEquals(plots, PLOTS.map((id) => `${run}/plots/${id}.svg`));
    assertFalse(Object.keys(await hashes(run)).includes("report.html"));
    for (const path of plots) {
      const svg = await Deno.readTextFile(path);
      assertMatch(svg, /^<svg xmlns="http:\/\/www.w3.org\/2000\/svg" [^>]*><title/);
      assertStringIncludes(svg, `fill="${LIGHT.paper}"`);
      assertFalse(svg.includes("var(--"));
      const [, title] = /<title[^>]*>([^<]*)</.exec(svg)!;
      assertEquals(svg.split(title).length - 1 >= 2, true, `${path} does not show its title`);
    }
  });
});

Deno.test("report() draws runs of one expert and one round, and of many experts and sources", async () => {
  for (const [experts, sources, rounds] of [[1, 1, 1], [33, 200, 94]]) {
    await inFolder(async (run) => {
      await writeRun(run, {
        ...SHAPE,
        experts,
        rounds,
        sources: Array.from({ length: sources }, (_, i) => `source ${i}`),
      });
      const page = await pageOf(run);
      assertFalse(/NaN|undefined|Infinity/.test(page.replace(/<style>.*?<\/style>/s, "")));
      assertEquals(page.includes("177 more sources"), sources === 200);
    });
  }
});

const ROUTING = ["em-nmi", "em-regret", "em-shares", "shares", "sources-by-expert", "segments"];

Deno.test("report() of one expert leaves out what compares experts, with a word", async () => {
  await inFolder(async (run) => {
    const shape = { ...SHAPE, experts: 1 };
    await writeRun(run, shape);
    const evaluation = evaluationOf(shape);
    const gains = evaluation.gains.map((gain) => ({ ...gain, percent: 0, low: 0, high: 0 }));
    await Deno.writeTextFile(`${run}/evaluation.json`, JSON.stringify({ ...evaluation, gains }));
    const page = await pageOf(run);
    assertMatch(page, /<dt>perplexities of the mixture and of [^<]*<\/dt><dd>equal<\/dd>/);
    const left = PLOTS.filter((id) => !page.includes(`id="plot-${id}"`));
    assertEquals(left, [...ROUTING, ...PLOTS.slice(PLOTS.indexOf("prefix-perplexity"), -1)]);
    for (
      const text of [
        "nothing to route: shares, agreement",
        "by expert are left out",
        "no routing prefix to vary",
      ]
    ) {
      assertStringIncludes(page, text);
    }
    assertFalse(/best in hindsight|1 times|NMI of expert/.test(page));
  });
});

Deno.test("report() of a run that is split by source says that labels choose, and leaves out what a prefix changes", async () => {
  await inFolder(async (run) => {
    await writeRun(run);
    const path = `${run}/config.json`;
    const { configuration, ...rest } = JSON.parse(await Deno.readTextFile(path));
    const bySource = { ...rest, configuration: { ...configuration, partitioner: "source" } };
    assertStringIncludes(await pageOf(run), "The mixture routes each sequence by its first 64 tokens");
    await Deno.writeTextFile(path, JSON.stringify(bySource));
    const page = await pageOf(run);
    const left = PLOTS.filter((id) => !page.includes(`id="plot-${id}"`));
    assertEquals(left, ["prefix-perplexity", "prefix-agreement"]);
    assertStringIncludes(page, "gives each sequence to the expert of its true label, which no prompt has.");
    assertStringIncludes(
      page,
      "As labels choose, there is no routing prefix to vary. Plots of these are left out.",
    );
    assertFalse(page.includes("routes each sequence"));
    assertStringIncludes(
      page,
      "A text is split without routers: the label of a sequence&#39;s source chooses",
    );
    assertFalse(page.includes("Routers split a text"));
  });
});

Deno.test("gainPlot() compares with models of any kind", () => {
  const [gain] = evaluationOf(SHAPE).gains;
  const { about } = gainPlot({ ...evaluationOf(SHAPE), gains: [{ ...gain, baseline: "switch" }] });
  assertStringIncludes(about, "lower the mixture's perplexity is than another model's");
});

Deno.test("report() of routers that learn clusters which stay does not tell of balance", async () => {
  await inFolder(async (run) => {
    await writeRun(run);
    const path = `${run}/config.json`;
    const { configuration, ...rest } = JSON.parse(await Deno.readTextFile(path));
    const balanced = ["loads kept equal", "Cost of balance", "Shares without balance by round"];
    const before = await pageOf(run);
    for (const text of balanced) assertStringIncludes(before, text);
    const fixed = { ...rest, configuration: { ...configuration, start: "ctbm", fixed: true } };
    await Deno.writeTextFile(path, JSON.stringify(fixed));
    const page = await pageOf(run);
    for (const text of [...balanced, "balanced assignment"]) assertFalse(page.includes(text), text);
    for (const text of ["of one cluster, as the clusters stay", "What it costs to keep the clusters"]) {
      assertStringIncludes(page, text);
    }
  });
});

Deno.test("report() of text without sources leaves out what compares them, with a word", async () => {
  await inFolder(async (run) => {
    await writeRun(run, { ...SHAPE, sources: [""] });
    const manifest = `${run}/partition/manifest.json`;
    const whole = JSON.parse(await Deno.readTextFile(manifest));
    await Deno.writeTextFile(manifest, JSON.stringify({ ...whole, train: { ...whole.train, nmi: null } }));
    const page = await pageOf(run);
    const left = PLOTS.filter((id) => !page.includes(`id="plot-${id}"`));
    assertEquals(left, ["sources-by-expert", "perplexity-by-source"]);
    assertStringIncludes(page, "no two sources to compare experts with, so that no plot shows them");
    assertStringIncludes(page, "The text has no two sources to compare. Plots of these are left out.");
  });
});

Deno.test("report() says that parts are equal, and what balance costs, only where the method balances", async () => {
  await inFolder(async (run) => {
    await writeRun(run);
    const manifest = `${run}/partition/manifest.json`;
    const whole = JSON.parse(await Deno.readTextFile(manifest));
    const toldOf = async (lineage: Record<string, string>) => {
      await Deno.writeTextFile(
        manifest,
        JSON.stringify({ ...whole, lineage: { ...whole.lineage, ...lineage } }),
      );
      const page = await pageOf(run);
      const said = page.slice(page.indexOf('<section id="partition"'), page.indexOf('<section id="experts"'));
      return [
        /1,000 training sequences in (\w+) parts/.exec(said)?.[1],
        / and (balance [^<]*)\.</.exec(said)?.[1],
        /balanced to [\d.]+%/.exec(said)?.[0],
        said.includes("after balancing"),
      ];
    };
    const balanced = "balance costs 0.03 nats per prefix token";
    assertEquals(await toldOf({}), ["equal", balanced, "balanced to 25.0%", true]);
    const perSequence = { method: "optimal", costs: "per sequence" };
    const added = "balance adds 0.03 to the mean cost of a sequence";
    assertEquals(await toldOf(perSequence), ["equal", added, "balanced to 25.0%", true]);
    assertEquals(await toldOf({ ...perSequence, method: "argmax" }), ["4", undefined, undefined, false]);
  });
});

Deno.test("roundPlots() and gainPlot() give values that are all alike an axis with some extent", () => {
  const rounds = [1, 2].map((round) => ({ round, nllPerToken: 5, shares: [1, 0], regret: 0, nmi: null }));
  const domains = roundPlots(rounds).slice(0, 2).map(({ spec }) =>
    (spec(348).encoding as Record<string, { scale: unknown }>).y.scale
  );
  assertEquals(domains, [{ domain: [4.5, 5.5] }, { domain: [0, 1] }]);
  const none = { baseline: "dense" as const, percent: 0, low: 0, high: 0 };
  assertStringIncludes(
    JSON.stringify(gainPlot({ ...evaluationOf(SHAPE), gains: [none] }).spec(348)),
    '"domain":[-1,1]',
  );
});

Deno.test("report() refuses what is no run, and names the file that is corrupt", async () => {
  await inFolder(async (folder) => {
    await assertRejects(
      () => report({ run: `${folder}/none` }),
      InputError,
      `Cannot report on "${folder}/none" as it must be`,
    );
    await assertRejects(() => report({ run: folder }), InputError, "it has no config.json");
    const run = `${folder}/run`;
    const on = `with run "${run}"`;
    const corrupt: [path: string, text: string, reason: string, remedy?: string][] = [
      ["evaluation.json", "{", "JSON", `run task "evaluate" ${on}, force`],
      ["evaluation.json", JSON.stringify({ ...evaluationOf(SHAPE), format: 4 }), "format"],
      ["evaluation.json", JSON.stringify({ ...evaluationOf(SHAPE), tokens: "many" }), "tokens"],
      [
        "reproduction.json",
        `{"format":1,"claims":[{}]}`,
        "claims.0.claim",
        `run task "reproduce" ${on} again`,
      ],
      [
        "metrics/rounds.jsonl",
        `{"round":1}\n`,
        "line 1: nllPerToken",
        `run task "train-routers" ${on}, force`,
      ],
      [
        "metrics/expert-01.jsonl",
        `{"step":1,"tokens":2,"loss":3,"rate":1,"norm":1}\n{"step":\n`,
        "line 2",
        `run task "train-expert" with expert 1, run "${run}", force`,
      ],
      [
        "metrics/dense-steps.jsonl",
        "{}\n",
        "step",
        `run task "train-dense" with match "steps", run "${run}", force`,
      ],
      [
        "partition/manifest.json",
        `{"format":1,"parts":[{"folder":"../../x"}]}`,
        "experts",
        `run task "split" ${on}, force`,
      ],
      ["partition/expert-02/manifest.json", "[]", "expert-02"],
      ["manifests/tokenize.json", "{}", "manifests/tokenize.json"],
    ];
    for (const [path, text, reason, remedy = ""] of corrupt) {
      await writeRun(run);
      await Deno.writeTextFile(`${run}/${path}`, text);
      const error = await assertRejects(
        () => report({ run }),
        InputError,
        `Cannot read "${run}/${path}" as it must be`,
      );
      assertStringIncludes(error.message, reason);
      assert(error.message.endsWith(remedy), error.message);
      assertFalse(error.message.includes("\n"));
    }
    assertFalse((await Array.fromAsync(Deno.readDir(run))).some(({ name }) => name.startsWith("report")));

    await writeRun(run);
    await Deno.writeTextFile(
      `${run}/metrics/dense.jsonl`,
      `{"step":1,"tokens":2,"loss":3,"rate":1,"norm":1}\n{"step":2,"tok`,
    );
    await report({ run }); // a line that is being written
  });
});

Deno.test("report() draws an evaluation that routes nothing to some experts, and one of the version before", async () => {
  const { prefixes, ...evaluation } = evaluationOf(SHAPE);
  const empty = {
    ...evaluation,
    format: 1,
    ...{ reliability: undefined, mixing: undefined, fallback: undefined },
    sources: [],
    segments: evaluation.segments.map((segment) => ({ ...segment, perplexity: { mixture: null } })),
    prefixes: prefixes.map(({ gains: _, ...prefix }) => prefix),
  };
  await inFolder(async (run) => {
    await writeRun(run);
    await Deno.writeTextFile(`${run}/evaluation.json`, JSON.stringify(empty));
    assertFalse(/plot-(segments|margin-right|experts-together|fallback)/.test(await pageOf(run)));
  });
});

Deno.test("drawPlot() draws bars as long as perplexities are", async () => {
  const svg = withValues(await draw(perplexityPlot(evaluationOf(SHAPE))), LIGHT);
  const [mixture] = boxes(svg, LIGHT.mixture);
  for (const way of ["random", "oracle", "dense", "dense-steps"] as const) {
    const [bar] = boxes(svg, LIGHT[way]);
    assertEquals(
      (bar.width / mixture.width).toFixed(2),
      (PERPLEXITY[way] / PERPLEXITY.mixture).toFixed(2),
      way,
    );
  }
});

Deno.test("drawPlot() draws a segment's bars as high as its perplexities are", async () => {
  const evaluation = evaluationOf(SHAPE);
  const svg = withValues(await draw(segmentPlot(evaluation)), LIGHT);
  const bars = (["mixture", "dense"] as const).map((way) =>
    boxes(svg, LIGHT[way]).map(({ height }) => height)
  );
  assertEquals(bars.map(({ length }) => length), [SHAPE.experts, SHAPE.experts]);
  const unit = bars[0][0] / evaluation.segments[0].perplexity.mixture!;
  evaluation.segments.forEach(({ perplexity }, e) => {
    assert(Math.abs(bars[0][e] / unit - perplexity.mixture!) < 0.1);
    assert(Math.abs(bars[1][e] / unit - perplexity.dense!) < 0.1);
  });
});

const CURVES = ["expert-00", "expert-01", "expert-02", "expert-03", "dense", "dense-steps"].map((
  model,
  i,
) => ({
  model,
  expert: i < 4 ? i : null,
  points: [{ step: 10, tokens: 1, loss: 2 }, { step: 20, tokens: 2, loss: 1 }],
}));

Deno.test("every plot draws a model in its own colour, and nothing else in it", async () => {
  const evaluation = evaluationOf(SHAPE);
  const whole = { sequences: 1, tokens: 1, regret: 0, nmi: 0, tokenImbalance: 0, shares: [0.4, 0.6] };
  const experts = ["e0", "e1", "e2", "e3"];
  const dense = ["dense", "dense-steps"];
  const expected: [plot: Plot, models: string[]][] = [
    [perplexityPlot(evaluation), ["mixture", ...dense, "oracle", "random"]],
    [gainPlot(evaluation), dense],
    [segmentPlot(evaluation), ["mixture", ...dense]],
    [sourcePlot(evaluation), ["mixture", ...dense]],
    [prefixPlots(evaluation)[0], ["mixture", ...dense]],
    ...mixingPlots(evaluation).map((plot): [Plot, string[]] => [plot, ["mixture"]]),
    [trainingPlots(CURVES, 4)[0], [...experts, ...dense]],
    [sharePlot({ experts: 2, train: whole, test: whole }, true), ["mixture"]],
    [overheadPlot([{ name: "a", training: 0.1, inference: 0.2 }]), ["mixture"]],
  ];
  for (const [plot, models] of expected) {
    for (const width of [348, 720]) {
      const svg = await draw(plot, width);
      const drawn = new Set(
        [...svg.matchAll(/var\(--(mixture|dense|dense-steps|oracle|random|e\d)\)/g)].map(([, name]) => name),
      );
      assertEquals([...drawn].sort(), [...models].sort(), plot.id);
    }
  }
});

Deno.test("legends of lines show each model's dashes and width, over 24 pixels or more", async () => {
  for (const plot of [trainingPlots(CURVES, 4)[0], prefixPlots(evaluationOf(SHAPE))[0]]) {
    for (const width of [348, 720]) {
      const svg = await draw(plot, width);
      for (const [model, dash] of [["dense", "1,0"], ["dense-steps", "7,4"]]) {
        const paths = [...svg.matchAll(/<(?:path|line)[^>]*>/g)].map(([tag]) => tag)
          .filter((tag) => tag.includes(`stroke="var(--${model})"`));
        assertEquals(paths.length, 2, `${plot.id}: ${paths}`);
        for (const tag of paths) {
          assertStringIncludes(tag, `stroke-width="2.5"`);
          assertStringIncludes(tag, `stroke-dasharray="${dash}"`);
        }
        const [, from, to] = / d="M(-[\d.]+),0L([\d.]+),0"/.exec(paths.join())!;
        assert(Number(to) - Number(from) >= 24, `${plot.id}: ${from} to ${to}`);
      }
    }
  }
});

Deno.test("drawPlot() gives ids that no other picture of a page has, and no classes", async () => {
  const rounds = Array.from(
    { length: 3 },
    (_, i) => ({ round: i + 1, nllPerToken: 5, shares: [0.5, 0.5], regret: 0, nmi: 0 }),
  );
  const curve = {
    model: "dense",
    expert: null,
    points: [{ step: 1, tokens: 1, loss: 2 }, { step: 2, tokens: 2, loss: 1 }],
  };
  for (const plot of [...roundPlots(rounds), ...trainingPlots([curve], 2)]) {
    const svg = await drawPlot(plot, { width: 348, id: "some" });
    for (const [, id] of svg.matchAll(/ id="([^"]*)"/g)) assertMatch(id, /^some-/);
    for (const [, id] of svg.matchAll(/url\(#([^)]*)\)/g)) assertStringIncludes(svg, ` id="${id}"`);
    assertFalse(svg.includes("class="));
  }
});

Deno.test("heatPlot() counts shares of each source over the experts, and puts the smallest together", () => {
  const part = (expert: number, counts: number[]) => ({
    expert,
    train: {
      sequences: 0,
      tokens: 0,
      sources: Object.fromEntries(counts.map((sequences, i) => [`s${i}`, { sequences, tokens: 0 }])),
    },
  });
  const { table, spec } = heatPlot([part(0, [3, 0]), part(1, [1, 8])], true);
  assertEquals(table.rows, [["s1", 8, "0.0%", "100.0%"], ["s0", 4, "75.0%", "25.0%"]]);
  const counts = Array.from({ length: 40 }, (_, i) => 40 - i);
  const { values } = heatPlot([part(0, counts), part(1, counts)], true).spec(720).data as {
    values: { source: string }[];
  };
  assertEquals(values.length, 48);
  assertEquals(values.at(-1)!.source, "17 more sources");
  assert(spec(720).height as number < 120);
});

Deno.test("trainingPlots() thins curves to means, and keeps where they end", () => {
  const points = Array.from(
    { length: 1000 },
    (_, i) => ({ step: i + 1, tokens: 10 * (i + 1), loss: i % 2 === 0 ? 1 : 3 }),
  );
  const [plot] = trainingPlots([{ model: "expert-00", expert: 0, points }], 1);
  const { values } = plot.spec(348).data as { values: { x: number; loss: number }[] };
  assert(values.length <= 150, String(values.length));
  assertEquals(values.at(-1)!.x, 10_000);
  const mean = values.reduce((sum, { loss }) => sum + loss, 0) / values.length;
  assert(Math.abs(mean - 2) < 0.01, String(mean));
  assertEquals(plot.table.rows, [["expert 0", 1000, 10_000, 1, 3, 1]]);
});

Deno.test("trainingPlots() dots a curve of few validations, and not one whose dashes dots would fill", async () => {
  const curve = (model: string, expert: number | null, count: number) => ({
    model,
    expert,
    points: Array.from(
      { length: count },
      (_, i) => ({ step: i + 1, tokens: i + 1, loss: 2, validationLoss: 3 - i / count }),
    ),
  });
  const plots = trainingPlots([curve("expert-00", 0, 1), curve("dense-steps", null, 100)], 4);
  const svg = await draw(plots.find(({ id }) => id === "validation-loss-by-steps")!, 348);
  const circles = [...svg.matchAll(/<path[^>]* d="M[^"]*A[^"]*" fill="var\(--([\w-]+)\)"/g)].map(([, name]) =>
    name
  );
  assertEquals(circles, ["e0"]);
});

Deno.test("trainingPlots() dots a training loss of one point, as no line shows it", async () => {
  const curve = (model: string, expert: number | null, count: number) => ({
    ...{ model, expert },
    points: Array.from({ length: count }, (_, i) => ({ step: i + 1, tokens: i + 1, loss: 3 - i / count })),
  });
  const [plot] = trainingPlots([curve("expert-00", 0, 1), curve("expert-01", 1, 2)], 2);
  const dots = [...(await draw(plot, 348)).matchAll(/<path[^>]* d="M[^"]*A[^"]*" fill="var\(--([\w-]+)\)"/g)];
  assertEquals(dots.map(([, name]) => name), ["e0"]);
});

Deno.test("trainingPlots() draws dots at the edge of a plot whole, and none above its scale", async () => {
  const losses = [9, ...Array.from({ length: 24 }, (_, i) => 3 - i / 24)];
  const points = losses.map((validationLoss, i) => ({
    step: i + 1,
    tokens: i + 1,
    loss: 2,
    validationLoss,
  }));
  const plots = trainingPlots([{ model: "expert-00", expert: 0, points }], 4);
  const svg = await draw(plots.find(({ id }) => id === "validation-loss-by-steps")!, 348);
  const circles = [...svg.matchAll(/<path transform="translate\(([\d.]+),([\d.]+)\)" d="M[^"]*A[^"]*"/g)];
  assertEquals(circles.length, 24);
  for (const [tag] of circles) assertEquals(clippedBefore(svg, svg.indexOf(tag)), false);
});

/** Says whether a place of a drawing lies in a group that is clipped. */
function clippedBefore(svg: string, at: number): boolean {
  const open: boolean[] = [];
  for (const [tag] of svg.slice(0, at).matchAll(/<\/?g\b[^>]*>/g)) {
    if (tag.startsWith("</")) open.pop();
    else open.push(tag.includes("clip-path"));
  }
  return open.includes(true);
}

Deno.test("mod.ts loads no Vega: what it imports as code reaches neither it nor what draws", async () => {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", "mod.ts"],
    cwd: ROOT,
  }).output();
  // deno-lint-ignore no-explicit-any
  const { modules } = JSON.parse(new TextDecoder().decode(stdout)) as any;
  const dependencies = new Map<string, string[]>();
  for (const { specifier, dependencies: list = [] } of modules) {
    dependencies.set(
      specifier,
      list.flatMap((one: { code?: { specifier?: string } }) => one.code?.specifier ?? []),
    );
  }
  const reached = new Set([`file://${ROOT}mod.ts`]);
  for (const specifier of reached) for (const next of dependencies.get(specifier) ?? []) reached.add(next);
  assert(reached.has(`file://${ROOT}pipeline/report/report.ts`));
  assertEquals([...reached].filter((specifier) => /vega|puppeteer|draw\.ts/.test(specifier)), []);
});

Deno.test("perplexityPlot() leaves a random expert out of the scale where it would squeeze the others, and says so", async () => {
  const evaluation = evaluationOf(SHAPE);
  const scores = { ...evaluation.scores };
  const highest = Math.max(
    ...Object.entries(scores).map(([way, score]) => way === "random" ? 0 : score!.high),
  );
  for (const [times, isLeft] of [[1.5, false], [8, true]] as const) {
    const high = times * highest;
    const random = { ...scores.random!, perplexity: high, low: high, high };
    const plot = perplexityPlot({ ...evaluation, scores: { ...scores, random } });
    assertEquals(plot.about.includes("far beyond this scale"), isLeft);
    assertEquals((await draw(plot)).includes(`>${high.toFixed(2)}</text>`), !isLeft);
    assertEquals(plot.table.rows.length, 5); // the numbers are all there
  }
});

Deno.test("report() begins with how much lower the perplexity is, and says in words where it is higher", async () => {
  await inFolder(async (run) => {
    await writeRun(run, SHAPE);
    const evaluation = evaluationOf(SHAPE);
    const [first, ...others] = evaluation.sources;
    const perplexity = { mixture: 127, dense: 100, "dense-steps": 128 };
    const better = { mixture: 30, dense: 40, "dense-steps": 40 };
    const sources = [
      { ...first, source: "tables", perplexity },
      ...others.map((one) => ({ ...one, perplexity: better })),
    ];
    const segments = evaluation.segments.map((one) => ({ ...one, perplexity: better }));
    await Deno.writeTextFile(`${run}/evaluation.json`, JSON.stringify({ ...evaluation, sources, segments }));
    const page = await pageOf(run);
    assertMatch(
      page,
      /<dl class="figures"><div><dt>perplexity of the mixture than of [^<]*<\/dt><dd>13.2% lower<\/dd>/,
    );
    assertMatch(page, /<strong>Worse<\/strong> than [^<]* on source “tables” \(27\.0% higher\)\.<\/p>/);
    assertEquals(page.split("<strong>Worse</strong>").length, 2); // better than the other one everywhere
  });
});
