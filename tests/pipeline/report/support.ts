/**
 * Writes small run folders as the tasks leave them, for the tests of reports.
 *
 * @module
 */

import type { Evaluation } from "../../../pipeline/evaluation/evaluation.ts";
import {
  ALL_TEST,
  EVALUATION,
  hashFiles,
  linkFile,
  type Manifest,
  noteFiles,
  readManifest,
  SEQUENCES,
  writeManifest,
} from "../../../pipeline/graph/mod.ts";
import { expertFolder, partNode } from "../../../pipeline/graph/node.ts";
import type { Claims } from "../../../pipeline/report/reproduction.ts";
import { writeRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import { writeAtomic } from "../../../pipeline/graph/files.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";

/** Describes a run. */
export interface RunShape {
  experts: number;
  sources: string[];
  rounds: number;
  steps: number;
}

/** A run that holds everything. */
export const SHAPE: RunShape = {
  experts: 4,
  sources: ["code", "fiction", "news"],
  rounds: 6,
  steps: 400,
};

/** Numbers that the texts of a report repeat. */
export const PERPLEXITY = {
  mixture: 45.25,
  random: 78.5,
  oracle: 43.75,
  dense: 52.125,
  "dense-steps": 44.5,
};

function numbers(seed: number): () => number {
  let state = seed;
  return () => (state = (state * 1103515245 + 12345) % 2 ** 31) / 2 ** 31;
}

/** Gives an evaluation with the perplexities above. */
export function evaluationOf({ experts, sources }: RunShape): Evaluation {
  const next = numbers(5);
  const interval = (perplexity: number) => ({
    perplexity,
    low: 0.95 * perplexity,
    high: 1.05 * perplexity,
  });
  const score = (perplexity: number) => ({
    nllPerToken: Math.log(perplexity),
    ...interval(perplexity),
  });
  const shares = Array<number>(experts).fill(1 / experts);
  const config = { vocabulary: 1024, hidden: 64, layers: 2, heads: 4, context: 128 };
  return {
    format: 3,
    prefix: 64,
    experts,
    documents: 41,
    sequences: 1092,
    tokens: 136_323,
    resamples: 1000,
    seed: 0,
    scores: Object.fromEntries(
      Object.entries(PERPLEXITY).map(([way, value]) => [way, score(value)]),
    ),
    gains: [
      { baseline: "dense", percent: 13.2, low: 11.9, high: 14.6 },
      { baseline: "dense-steps", percent: -1.7, low: -3.1, high: -0.2 },
    ],
    sources: sources.map((source, i) => ({
      source,
      documents: 5 + i,
      sequences: 100 + i,
      tokens: 12_700 + i,
      perplexity: {
        mixture: 30 + 40 * next(),
        dense: 35 + 40 * next(),
        "dense-steps": 33 + 40 * next(),
      },
      shares,
    })),
    segments: shares.map((share, expert) => ({
      expert,
      sequences: 273,
      share,
      tokens: 34_081,
      perplexity: {
        mixture: 30 + 3 * expert,
        dense: 35 + 3 * expert,
        "dense-steps": 31 + 3 * expert,
      },
    })),
    prefixes: [4, 8, 16, 32, 64, 128].map((prefix, i) => ({
      prefix,
      ...interval([62, 54, 50, 47, PERPLEXITY.mixture, 44.75][i]),
      gains: [],
      agreement: [0.4, 0.6, 0.7, 0.9, 1, 0.9][i],
    })),
    reliability: {
      sequences: 1092,
      right: 0.7,
      loss: 6.5,
      bins: Array.from({ length: 10 }, (_, i) => ({
        from: i ** 2 / 4,
        to: (i + 0.9) ** 2 / 4,
        sequences: 109,
        right: 0.4 + 0.06 * i,
        loss: i === 9 ? null : 3 + i,
      })),
    },
    mixing: {
      temperature: 1,
      mixes: [...new Set([1, 2, experts])].filter((size) => size <= experts).flatMap((size) =>
        [null, 32].map((reroute) => ({
          experts: size,
          reroute,
          ...score(PERPLEXITY.mixture - size / 4 - (reroute === null ? 0 : 0.5)),
          expertsPerToken: reroute === null ? size : 1.5 * size,
          routings: reroute === null ? 1 : 3,
          gain: { percent: size / 2, low: size / 2 - 0.25, high: size / 2 + 0.25 },
          gains: [],
          prefixes: [],
        }))
      ),
    },
    fallback: {
      model: "dense",
      chosen: { margin: 2, share: 0.2, ...score(46) },
      curve: Array.from({ length: 21 }, (_, i) => ({
        margin: i === 20 ? null : i / 2,
        share: i / 20,
        ...interval(45.25 + 6.875 * (i / 20) ** 2),
      })),
    },
    models: {
      config,
      parameters: 165_632,
      router: { ...config, hidden: 32, heads: 2 },
      routerParameters: 58_240,
    },
  };
}

/** Gives what an evaluation says of another partitioner. */
export function routedByOf({ prefixes }: Evaluation): NonNullable<Evaluation["routedBy"]> {
  const gain = { percent: -2.5, low: -4, high: -1 };
  return {
    kind: "self",
    prefixes: prefixes.map(({ prefix }) => {
      return { prefix, perplexity: 44, low: 43, high: 45, gain, agreement: 0.875 };
    }),
  };
}

/** Gives claims of each kind. */
export const CLAIMS: Claims = {
  format: 1,
  claims: [
    {
      claim: "The mixture beats dense",
      paper: "10.78 to 11.78",
      here: "45.25 to 52.13",
      holds: true,
    },
    {
      claim: "It beats dense with more steps",
      paper: "not asked",
      here: "45.25 to 44.50",
      holds: false,
    },
    { claim: "The gain grows with E", paper: "8.5% to 13.6%", here: "one E", holds: null },
  ],
  search: {
    experts: {
      rate: 0.004,
      trials: [[0.004, 3.9], [0.008, Infinity]].map(([rate, validationLoss]) => ({
        rate,
        validationLoss,
      })),
    },
  },
  trialShare: 0.125,
};

/** What a node holds. */
export interface NodeContent {
  /** Its files, by name. */
  files?: Record<string, string | Uint8Array<ArrayBuffer>>;
  /** What its manifest says. */
  manifest?: Partial<Pick<Manifest, "settings" | "inputs" | "result">>;
  /** Files that a link at the root of the run leads to. */
  links?: string[];
}

/** Writes a node of a run. */
export async function writeNode(
  run: string,
  name: string,
  content: NodeContent,
): Promise<Manifest> {
  const { files = {}, manifest = {}, links = [] } = content;
  const folder = `${run}/${name}`;
  for (const [file, data] of Object.entries(files)) await writeAtomic(`${folder}/${file}`, data);
  const known = { key: "0", name, revision: 1, settings: {}, inputs: {}, result: {}, ...manifest };
  const notes = await noteFiles(folder);
  delete notes["manifest.json"];
  const written = await writeManifest(folder, { ...known, files: notes }, {
    adapter: "an adapter",
  });
  for (const file of links) await linkFile(run, file, `${name}/${file}`);
  return written;
}

// deno-lint-ignore no-explicit-any -- whatever JSON holds
type Any = any;

/** Changes the evaluation of a run, and what its manifest says. */
export async function changeEvaluation(
  run: string,
  change: (own: Any) => unknown,
  more: NodeContent["manifest"] = {},
): Promise<void> {
  const folder = `${run}/${EVALUATION}`;
  const { key: _, name: __, files: ___, made: ____, ...manifest } = (await readManifest(folder))!;
  const value = change(JSON.parse(await Deno.readTextFile(`${folder}/evaluation.json`)));
  const files = { "evaluation.json": JSON.stringify(value) };
  await writeNode(run, EVALUATION, { files, manifest: { ...manifest, ...more } });
}

/** Lists the plots of a page. */
export const plotsOf = (page: string) =>
  [...page.matchAll(/<figure class="\w+" id="plot-([\w-]+)"/g)].map(([, id]) => id);

const linesOf = (values: unknown[]) => values.map((value) => JSON.stringify(value) + "\n").join("");

/**
 * Writes a run that holds everything: what `deno task partition`, training and evaluation leave for
 * a report.
 */
export async function writeRun(run: string, shape: RunShape = SHAPE): Promise<void> {
  const { experts, sources, rounds, steps } = shape;
  const next = numbers(9);
  const configuration = { ...defaultConfiguration(), input: ["text"], experts, rounds };
  await writeRunConfiguration(run, configuration);
  await writeText(run);
  const shares = () => {
    const parts = Array.from({ length: experts }, () => 0.2 + next());
    const sum = parts.reduce((a, b) => a + b, 0);
    return parts.map((part) => part / sum);
  };
  const metrics = Array.from({ length: rounds }, (_, i) => ({
    round: i + 1,
    nllPerToken: 4.5 + 2 / (i + 1),
    shares: shares(),
    regret: 0.01 * i,
    nmi: 0.4 * (1 - 1 / (i + 1)),
    trainingLoss: [],
    rate: 0.004,
    steps: 16 * (i + 1),
    sequences: 1024 * (i + 2),
  }));
  await writeNode(run, "partitioner", { files: { "rounds.jsonl": linesOf(metrics) } });
  await writeNode(run, "assignments/all", { manifest: { settings: { method: "balanced" } } });
  const wanted = { train: shares(), test: shares() };
  for (let expert = 0; expert < experts; expert++) {
    const side = (name: "train" | "test") => ({
      sequences: 250,
      tokens: 30_000 + (expert === 0 ? 240 : 0),
      nllPerToken: 4.7,
      predicted: 15_000,
      cost: 4.7 * 15_000,
      lowest: 4.67 * 15_000,
      wanted: Math.round(250 * experts * wanted[name][expert]),
      sources: Object.fromEntries(
        sources.map((
          source,
        ) => [source, { sequences: Math.floor(100 * next() ** 3), tokens: 1000 }]),
      ),
    });
    const assignments = ["assignments/all"];
    const result = { expert, train: side("train"), test: side("test"), assignments };
    await writeNode(run, partNode(expert, experts), { manifest: { result } });
  }
  const curve = (node: string, steps: number, perStep: number, end: number) => {
    const lines = Array.from({ length: steps / 10 }, (_, i) => {
      const step = 10 * (i + 1);
      const loss = end + (6.9 - end) * Math.exp(-6 * step / steps);
      const line = { step, tokens: step * perStep, loss, rate: 0.003, norm: 0.5 };
      return step % 100 === 0 ? { ...line, validationLoss: loss + 0.1 } : line;
    });
    return writeNode(run, node, { files: { "metrics.jsonl": linesOf(lines) } });
  };
  for (let expert = 0; expert < experts; expert++) {
    await curve(`experts/${expertFolder(expert, experts)}`, steps, 2032, 3.5 + 0.1 * expert);
  }
  await curve("dense", steps, 2032 * experts, 4);
  await curve("dense-steps", steps * experts, 2032, 3.8);
  await writeEvaluation(run, evaluationOf(shape));
  await writeAtomic(`${run}/reproduction.json`, JSON.stringify(CLAIMS));
}

/** Writes what the text of a run came to in tokens, in blocks of held-out sequences. */
export async function writeText(
  run: string,
  blocks: readonly Uint8Array<ArrayBuffer>[] = [],
): Promise<void> {
  await Deno.remove(`${run}/tokens`, { recursive: true }).catch(() => {});
  const counts = { documents: 408, tokens: 1_911_387, trainSequences: 14_046, testSequences: 1092 };
  await writeNode(run, "tokenizer", {
    manifest: { result: { entries: 1024, eos: 0, tokenizer: "0" } },
  });
  const hashes: string[] = [];
  for (const [i, test] of (blocks.length > 0 ? blocks : [undefined]).entries()) {
    const result = i === 0
      ? counts
      : { documents: 0, tokens: 0, trainSequences: 0, testSequences: 0 };
    const files: NodeContent["files"] = test ? { "test.arrow": test } : {};
    const { files: notes } = await writeNode(run, `tokens/${i}`, { files, manifest: { result } });
    hashes.push(notes["test.arrow"]?.sha256 ?? "");
  }
  const files = { "train.json": "{}", "test.json": JSON.stringify(hashes) };
  await writeNode(run, SEQUENCES, {
    files,
    manifest: { settings: { blocks: Object.keys(hashes) } },
  });
}

/** Writes an evaluation of the held-out text that a run has, and what documents came to. */
export async function writeEvaluation(
  run: string,
  evaluation: Evaluation,
  documents?: Uint8Array<ArrayBuffer>,
): Promise<void> {
  const list = await readManifest(`${run}/${SEQUENCES}`);
  await writeNode(run, EVALUATION, {
    files: {
      "evaluation.json": JSON.stringify(evaluation),
      ...documents ? { "evaluation.arrow": documents } : {},
    },
    manifest: { inputs: { [ALL_TEST]: list ? hashFiles(list, "test") : "" } },
    links: ["evaluation.json", ...documents ? ["evaluation.arrow"] : []],
  });
}
