/**
 * The section of a report that names the experts: for each the words that set it apart, its sources, its
 * likeliest and least likely texts, and a text that it wrote.
 *
 * @module
 */

import { CALLED_WORDS, type ExpertName, type SampledText } from "../../partition/names.ts";
import type { PartManifest } from "../../partition/manifests.ts";
import { printable } from "../../run/printable.ts";
import { type Content, Html, htmlTable, markup, number, percent, type Table } from "../html.ts";
import { expertName, labelled } from "../plots.ts";
import type { RunRecord } from "../read.ts";
import type { Samples } from "../samples.ts";
import type { Section } from "../section.ts";
import { expertColour } from "../theme.ts";

/** Most sources that are listed, and most experts whose texts are shown. */
const MOST_SOURCES = 6;
export const MOST_EXPERTS = 64;

/** Writes the section; none where there is no partition. */
export function expertsSection({ partition, names }: RunRecord, samples?: Samples): Section[] {
  if (partition === null) return [];
  const section = { id: "experts", title: "What the experts read and write" };
  const written = aboutSamples(samples);
  if (names === null) {
    const lead = markup`<p>The words and texts of the experts are not here, as the shards of their parts
or their tokenizer are not.${written}</p>`;
    const texts = [...samples?.texts ?? []].map(([expert, text]) =>
      markup`<h3>${capital(expertName(expert))}</h3>\n${sampleHtml(text)}`
    );
    return [{ ...section, lead: [lead, ...texts] }];
  }
  const unit = partition.whole.lineage.costs === undefined ? "nats per prefix token" : "in cost";
  const shown = names.slice(0, MOST_EXPERTS);
  const many = shown.length < names.length
    ? ` Of ${number(names.length)} experts the first ${MOST_EXPERTS} are shown.`
    : "";
  const lead = names.length === 1
    ? markup`<p>The one expert reads everything, so that no words set it apart. Its texts are from a sample of
${number(names[0].sampled)} of its sequences.${written}</p>`
    : markup`<p>An expert is called after the words that set its training sequences apart from all others: by the
log-odds that a sequence holds the word, with a prior, the surest first, in a sample of ${
      number(Math.max(...names.map(({ sampled }) => sampled)))
    } sequences of each. Its likeliest and least likely texts, from the same sample, are those that its router predicts
best and worst, or that lie nearest to its part and farthest from it.${written}${many}</p>`;
  return [{
    ...section,
    lead: [
      lead,
      ...shown.map((name) =>
        expertHtml(name, partition.parts[name.expert], unit, samples?.texts.get(name.expert))
      ),
    ],
  }];
}

/** Says what the texts are that experts wrote, and why there are none, or not those of all. */
function aboutSamples(samples?: Samples): string {
  if (!samples) return "";
  const { texts, reason } = samples;
  const lack = reason === undefined
    ? ""
    : ` ${texts.size === 0 ? "No" : "Not every"} expert has written a text, as ${reason}.`;
  if (texts.size === 0) return lack;
  return `${lack} What an expert writes begins a document, with no text before it, and has ${samples.tokens} tokens at most; its seed is the same for all.`;
}

function expertHtml(name: ExpertName, { train }: PartManifest, unit: string, sample?: string): Html {
  const { expert, terms } = name;
  const title = terms.slice(0, CALLED_WORDS).map(({ text }) => text).join(", ");
  const sources = Object.entries(train.sources)
    .map(([source, { sequences }]) => [labelled(source), sequences / Math.max(1, train.sequences)] as const)
    .filter(([, share]) => share >= 0.005)
    .sort(([, a], [, b]) => b - a);
  const words: Table = {
    head: ["word", "its sequences with it", "others'", "log-odds"],
    rows: terms.toSorted((a, b) => b.logOdds - a.logOdds).map(({ text, share, shareOfRest, logOdds }) => [
      ...[printable(text), percent(share), percent(shareOfRest)],
      logOdds.toFixed(2),
    ]),
  };
  const label = expertName(expert);
  return markup`<section class="expert" style="border-color:${
    expertColour(expert)
  }" aria-labelledby="expert-${expert}">
<h3 id="expert-${expert}">${capital(label)}${title && `: ${title}`}</h3>
<dl><dt>words</dt><dd>${
    terms.length > 0 ? terms.map(({ text }) => text).join(", ") : "none sets it apart"
  }</dd>
<dt>sources</dt><dd>${
    sources.slice(0, MOST_SOURCES).map(([source, share]) => `${source} ${percent(share, 0)}`).join(", ")
  }${sources.length > MOST_SOURCES ? ", …" : ""}</dd>
${sample === undefined ? null : markup`<dt>writes</dt><dd>${sampleHtml(sample)}</dd>`}</dl>
${
    name.likeliest.length === 0
      ? null
      : markup`<details><summary>Likeliest and least likely texts of ${label}</summary>
${textsHtml("Likeliest", name.likeliest, unit)}${textsHtml("Least likely", name.leastLikely, unit)}</details>`
  }
${
    terms.length === 0
      ? null
      : markup`<details><summary>Words of ${label}, in numbers</summary>${
        htmlTable(words, `Words of ${label}`)
      }</details>`
  }
</section>
`;
}

const capital = (label: string): string => label[0].toUpperCase() + label.slice(1);

/** Shows a text as it is, line ends included. */
const preformatted = (text: string): Html =>
  markup`<pre>${text.split(/([\n\t])/).map((part, i) => i % 2 === 1 ? new Html(part) : part)}</pre>`;

/** Shows what an expert wrote, without blank lines around it. */
const sampleHtml = (text: string): Content =>
  text.trim() === ""
    ? "nothing: it ends the document at once"
    : preformatted(text.replace(/^\s*\n|\s+$/g, ""));

function textsHtml(title: string, texts: readonly SampledText[], unit: string): Html {
  const items = texts.map(({ sequence, source, cost, text }) =>
    markup`<div class="text"><p>${cost.toFixed(3)} ${unit}; sequence ${sequence}${
      source && `, ${labelled(source)}`
    }</p>${preformatted(text)}</div>
`
  );
  return markup`<h4>${title}</h4>${items}`;
}
