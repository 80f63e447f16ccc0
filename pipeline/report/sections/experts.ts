// The experts: for each the words that set it apart, its sources, its likeliest and least likely
// texts, and a text that it writes for the page.

import { relative } from "node:path";
import { DeviceError } from "../../../kernels/device/failures.ts";
import { type Gpu, openGpu, type OpenGpuOptions } from "../../../kernels/device/gpu.ts";
import { InputError, RunError } from "../../../kernels/errors.ts";
import { CALLED_WORDS, type ExpertName, type SampledText } from "../../partition/names.ts";
import { expertPath } from "../../partition/tree/branches.ts";
import { exists } from "../../graph/files.ts";
import { printable } from "../../graph/printable.ts";
import { numberText, percent } from "../../graph/numbers.ts";
import { answer } from "../../serving/generate.ts";
import { openMixture } from "../../serving/mixture.ts";
import type { ExpertPart } from "../../stages/parts.ts";
import { expertLine } from "../charts.ts";
import { type Content, foldedTable, Html, markup, sourceName } from "../html.ts";
import type { Section } from "../page.ts";
import type { RunRecord } from "../read.ts";
import { sourcesIn } from "./partition.ts";

/**
 * What experts wrote: the most tokens of a text, the texts by expert, and why there are none, or
 * not those of all.
 */
type Samples = { tokens: number; texts: ReadonlyMap<number, string>; reason?: string };

/** Most sources that are listed, and most experts whose texts are shown. */
const [MOST_SOURCES, MOST_EXPERTS] = [6, 64];

/**
 * Lets experts begin a document, one after another, with a seed, on an open device or a new one; 0
 * tokens are none. Where there is no adapter, or the tokenizer or an expert's file is not there,
 * the texts end, and a reason says so.
 *
 * @throws {InputError} if the run has no such expert, or a file of it is damaged.
 */
export async function writeSamples(
  run: string,
  experts: readonly number[],
  { tokens, signal, gpu: opened, ...device }: OpenGpuOptions & {
    tokens: number;
    gpu?: Gpu;
    signal?: AbortSignal;
  },
): Promise<Samples> {
  const texts = new Map<number, string>();
  if (tokens === 0 || experts.length === 0) return { tokens, texts };
  let hasDevice = false;
  try {
    using held = new DisposableStack();
    const gpu = opened ?? held.adopt(await openGpu(device), (device) => device.close());
    hasDevice = true;
    const options = {
      run,
      gpu,
      doing: `report on "${run}"`,
      models: 1,
      slots: 1,
      capacity: 1 + tokens,
    };
    const mixture = held.adopt(await openMixture(options), (mixture) => mixture.close());
    const prompt = Uint32Array.of((await mixture.tokenizer()).eos);
    for (const expert of experts.slice(0, MOST_EXPERTS)) {
      const text = await answer(mixture, { prompt, expert, maxNewTokens: tokens, seed: 0, signal });
      texts.set(expert, (await Array.fromAsync(text)).join(""));
    }
    return { tokens, texts };
  } catch (error) {
    if (error instanceof DeviceError || !hasDevice && error instanceof RunError) {
      return {
        tokens,
        texts,
        reason: `there is no device${hasDevice ? " left" : ""}: ${error.message}`,
      };
    }
    if (!(error instanceof InputError) || !error.where || await exists(error.where)) throw error;
    return { tokens, texts, reason: `${relative(run, error.where)} is not there` };
  }
}

function aboutSamples({ texts, tokens, reason }: Samples): string {
  const extent = texts.size === 0 ? "No" : "Not every";
  return [
    reason && ` ${extent} expert has written a text, as ${reason}.`,
    texts.size > 0 &&
    (" What an expert writes begins a document, with no text before it, and has " +
      `${tokens} tokens at most; its seed is the same for all.`),
  ].filter(Boolean).join("");
}

function aboutNames(names: readonly ExpertName[]): string {
  const sampled = numberText(Math.max(...names.map(({ sampled }) => sampled)));
  if (names.length === 1) {
    return "The one expert reads everything, so that no words set it apart. Its " +
      `texts are from a sample of ${sampled} of its sequences.`;
  }
  const some = names.length > MOST_EXPERTS
    ? ` Of ${numberText(names.length)} experts the first ${MOST_EXPERTS} are shown.`
    : "";
  return "An expert is called after the words that set its training sequences apart from all " +
    "others: by the log-odds that a sequence holds the word, with a prior, the surest first, " +
    `in a sample of ${sampled} sequences of each. Its likeliest and least likely texts, from the ` +
    "same sample, are those that its router predicts best and worst, or that lie nearest to its " +
    `part and farthest from it.${some}`;
}

const capital = (label: string): string => label[0].toUpperCase() + label.slice(1);

/** Shows a text as it is, line ends included. */
const preformatted = (text: string): Html =>
  markup`<pre>${
    text.split(/([\n\t])/).map((part, i) => i % 2 === 1 ? new Html(part) : part)
  }</pre>`;

/** Shows what an expert wrote, without blank lines around it. */
const sampleHtml = (text: string): Content =>
  text.trim() === ""
    ? "nothing: it ends the document at once"
    : preformatted(text.replace(/^\s*\n|\s+$/g, ""));

const textsHtml = (title: string, texts: readonly SampledText[], unit: string): Html => {
  const items = texts.map(({ sequence, source, cost, text }) => {
    const where = `${cost.toFixed(3)} ${unit}; sequence ${sequence}${
      source && `, ${sourceName(source)}`
    }`;
    return markup`<div class="text"><p>${where}</p>${preformatted(text)}</div>\n`;
  });
  return markup`<h4>${title}</h4>${items}`;
};

function expertHtml(
  { expert, terms, likeliest, leastLikely }: ExpertName,
  part: ExpertPart,
  { unit, levels, sample }: { unit: string; levels: readonly number[]; sample?: string },
): Html {
  const { name: label, colour } = expertLine(expert, expertPath(expert, levels));
  const words = terms.map(({ text }) => text);
  const title = words.slice(0, CALLED_WORDS).join(", ");
  const sources = sourcesIn([part]).filter(([, share]) => share >= 0.005);
  const listed = sources.slice(0, MOST_SOURCES).map(([source, share]) =>
    `${source} ${percent(share, 0)}`
  );
  if (sources.length > MOST_SOURCES) listed.push("…");
  const texts = likeliest.length > 0 &&
    markup`<details><summary>Likeliest and least likely texts of ${label}</summary>
${textsHtml("Likeliest", likeliest, unit)}${
      textsHtml("Least likely", leastLikely, unit)
    }</details>`;
  const head = ["word", "its sequences with it", "others'", "log-odds"];
  const rows = terms.toSorted((a, b) => b.logOdds - a.logOdds).map(({ text, logOdds, ...term }) => [
    ...[printable(text), percent(term.share), percent(term.shareOfRest), logOdds.toFixed(2)],
  ]);
  return markup`<section class="expert" style="border-color:${colour}" \
aria-labelledby="expert-${expert}">
<h3 id="expert-${expert}">${capital(label)}${title && `: ${title}`}</h3>
<dl><dt>words</dt><dd>${words.join(", ") || "none sets it apart"}</dd>
<dt>sources</dt><dd>${listed.join(", ")}</dd>
${sample !== undefined && markup`<dt>writes</dt><dd>${sampleHtml(sample)}</dd>`}</dl>
${texts}
${
    rows.length > 0 &&
    foldedTable({ head, rows }, `Words of ${label}`, `Words of ${label}, in numbers`)
  }
</section>
`;
}

/** What every expert reads and writes. */
export const expertsSection: Section<RunRecord & { samples: Samples }> = {
  id: "experts",
  title: "What the experts read and write",
  parts: ({ partition, names, samples, config: { configuration: { levels } } }) => {
    if (partition === null) return null;
    const written = aboutSamples(samples);
    if (names === null) {
      return [
        markup`<p>The words and texts of the experts are not here, \
as the shards of their parts or their tokenizer
are not.${written}</p>`,
        [...samples.texts].map(([expert, text]) => {
          const { name } = expertLine(expert, expertPath(expert, levels));
          return markup`<h3>${capital(name)}</h3>\n${sampleHtml(text)}`;
        }),
      ];
    }
    const { costs, parts } = partition;
    const unit = costs === undefined ? "nats per prefix token" : "in cost";
    return [
      markup`<p>${aboutNames(names)}${written}</p>`,
      names.slice(0, MOST_EXPERTS).map((name) =>
        expertHtml(name, parts[name.expert], {
          unit,
          levels,
          sample: samples.texts.get(name.expert),
        })
      ),
    ];
  },
};
