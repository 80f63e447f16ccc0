/**
 * The section of a report that names the experts: for each the words that set it apart, its sources, and its
 * likeliest and least likely texts.
 *
 * @module
 */

import type { ExpertName, SampledText } from "../../partition/names.ts";
import type { PartManifest } from "../../partition/manifests.ts";
import { Html, htmlTable, markup, number, percent, printable, type Table } from "../html.ts";
import { expertName, labelled } from "../plots.ts";
import type { RunRecord } from "../read.ts";
import type { Section } from "../section.ts";
import { expertColour } from "../theme.ts";

/**
 * Most words in the title of an expert, most sources that are listed, and most experts whose texts are shown.
 */
const TITLE_WORDS = 3;
const MOST_SOURCES = 6;
const MOST_EXPERTS = 64;

/** Writes the section; none where there is no partition. */
export function expertsSection({ partition, names }: RunRecord): Section[] {
  if (partition === null) return [];
  const section = { id: "experts", title: "What the experts read" };
  if (names === null) {
    const lead = markup`<p>The words and texts of the experts are not here, as the shards of their parts
or their tokenizer are not.</p>`;
    return [{ ...section, lead: [lead] }];
  }
  const unit = partition.whole.lineage.costs === undefined ? "nats per prefix token" : "in cost";
  const shown = names.slice(0, MOST_EXPERTS);
  const many = shown.length < names.length
    ? ` Of ${number(names.length)} experts the first ${MOST_EXPERTS} are shown.`
    : "";
  const lead = names.length === 1
    ? markup`<p>The one expert reads everything, so that no words set it apart. Its texts are from a sample of
${number(names[0].sampled)} of its sequences.</p>`
    : markup`<p>An expert is called after the words that set its training sequences apart from all others: by the
log-odds that a sequence holds the word, with a prior, in a sample of ${
      number(Math.max(...names.map(({ sampled }) => sampled)))
    } sequences of each. Its likeliest and least likely texts, from the same sample, are those that its router predicts
best and worst, or that lie nearest to its part and farthest from it.${many}</p>`;
  return [{
    ...section,
    lead: [lead, ...shown.map((name) => expertHtml(name, partition.parts[name.expert], unit))],
  }];
}

function expertHtml(name: ExpertName, { train }: PartManifest, unit: string): Html {
  const { expert, terms } = name;
  const title = terms.slice(0, TITLE_WORDS).map(({ text }) => text).join(", ");
  const sources = Object.entries(train.sources)
    .map(([source, { sequences }]) => [labelled(source), sequences / Math.max(1, train.sequences)] as const)
    .filter(([, share]) => share >= 0.005)
    .sort(([, a], [, b]) => b - a);
  const words: Table = {
    head: ["word", "its sequences with it", "others'", "log-odds"],
    rows: terms.map(({ text, share, shareOfRest, logOdds }) => [
      ...[printable(text), percent(share), percent(shareOfRest)],
      logOdds.toFixed(2),
    ]),
  };
  const label = expertName(expert);
  return markup`<section class="expert" style="border-color:${
    expertColour(expert)
  }" aria-labelledby="expert-${expert}">
<h3 id="expert-${expert}">${label[0].toUpperCase()}${label.slice(1)}${title && `: ${title}`}</h3>
<dl><dt>words</dt><dd>${
    terms.length > 0 ? terms.map(({ text }) => text).join(", ") : "none sets it apart"
  }</dd>
<dt>sources</dt><dd>${
    sources.slice(0, MOST_SOURCES).map(([source, share]) => `${source} ${percent(share, 0)}`).join(", ")
  }${sources.length > MOST_SOURCES ? ", …" : ""}</dd></dl>
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

/** Shows texts as they are, line ends included. */
function textsHtml(title: string, texts: readonly SampledText[], unit: string): Html {
  const items = texts.map(({ sequence, source, cost, text }) =>
    markup`<div class="text"><p>${cost.toFixed(3)} ${unit}; sequence ${sequence}${
      source && `, ${labelled(source)}`
    }</p><pre>${text.split(/([\n\t])/).map((part, i) => i % 2 === 1 ? new Html(part) : part)}</pre></div>
`
  );
  return markup`<h4>${title}</h4>${items}`;
}
