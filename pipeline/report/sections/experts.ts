// The experts: for each the words that set it apart, its sources, its likeliest and least likely texts,
// and a text that it wrote.

import type { ExpertPart } from "../../stages/parts.ts";
import { expertPath } from "../../partition/tree/branches.ts";
import { CALLED_WORDS, type ExpertName, type SampledText } from "../../partition/names.ts";
import { printable } from "../../run/printable.ts";
import { type Content, foldedTable, Html, markup, number, percent, sourceName } from "../html.ts";
import type { Section } from "../page.ts";
import type { RunRecord } from "../read.ts";
import type { Samples } from "../samples.ts";
import { expertLine } from "../theme.ts";
import { sourcesIn } from "./tree.ts";

/** Most sources that are listed, and most experts whose texts are shown. */
const MOST_SOURCES = 6;
export const MOST_EXPERTS = 64;

/** Reports what the texts are that experts wrote, and why there are none, or not those of all. */
function aboutSamples({ texts, tokens, reason }: Samples): string {
  const lack = reason && ` ${texts.size === 0 ? "No" : "Not every"} expert has written a text, as ${reason}.`;
  const what = texts.size === 0
    ? ""
    : ` What an expert writes begins a document, with no text before it, and has ${tokens} tokens at most; its seed is the same for all.`;
  return `${lack ?? ""}${what}`;
}

function about(names: readonly ExpertName[]): string {
  const sampled = number(Math.max(...names.map(({ sampled }) => sampled)));
  if (names.length === 1) {
    return `The one expert reads everything, so that no words set it apart. Its texts are from a sample of ${sampled} of its sequences.`;
  }
  const some = ` Of ${number(names.length)} experts the first ${MOST_EXPERTS} are shown.`;
  return `An expert is called after the words that set its training sequences apart from all others: by the log-odds that a sequence \
holds the word, with a prior, the surest first, in a sample of ${sampled} sequences of each. Its likeliest and least likely texts, \
from the same sample, are those that its router predicts best and worst, or that lie nearest to its part and farthest from it.${
    names.length > MOST_EXPERTS ? some : ""
  }`;
}

function expertHtml(
  name: ExpertName,
  { train }: Pick<ExpertPart, "train">,
  { unit, levels }: { unit: string; levels: readonly number[] },
  sample?: string,
): Html {
  const { expert, terms, likeliest, leastLikely } = name;
  const { name: label, colour } = expertLine(expert, expertPath(expert, levels));
  const title = terms.slice(0, CALLED_WORDS).map(({ text }) => text).join(", ");
  const sources = sourcesIn([{ train }]).filter(([, share]) => share >= 0.005);
  const listed = sources.slice(0, MOST_SOURCES).map(([source, share]) => `${source} ${percent(share, 0)}`)
    .join(", ");
  const rows = terms.toSorted((a, b) => b.logOdds - a.logOdds).map((
    { text, share, shareOfRest, logOdds },
  ) => [
    ...[printable(text), percent(share), percent(shareOfRest), logOdds.toFixed(2)],
  ]);
  const words = { head: ["word", "its sequences with it", "others'", "log-odds"], rows };
  return markup`<section class="expert" style="border-color:${colour}" aria-labelledby="expert-${expert}">
<h3 id="expert-${expert}">${capital(label)}${title && `: ${title}`}</h3>
<dl><dt>words</dt><dd>${terms.map(({ text }) => text).join(", ") || "none sets it apart"}</dd>
<dt>sources</dt><dd>${listed}${sources.length > MOST_SOURCES ? ", …" : ""}</dd>
${sample === undefined ? null : markup`<dt>writes</dt><dd>${sampleHtml(sample)}</dd>`}</dl>
${
    likeliest.length === 0
      ? null
      : markup`<details><summary>Likeliest and least likely texts of ${label}</summary>
${textsHtml("Likeliest", likeliest, unit)}${textsHtml("Least likely", leastLikely, unit)}</details>`
  }
${rows.length === 0 ? null : foldedTable(words, `Words of ${label}`, `Words of ${label}, in numbers`)}
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
  const items = texts.map(({ sequence, source, cost, text }) => {
    const where = `${cost.toFixed(3)} ${unit}; sequence ${sequence}${source && `, ${sourceName(source)}`}`;
    return markup`<div class="text"><p>${where}</p>${preformatted(text)}</div>\n`;
  });
  return markup`<h4>${title}</h4>${items}`;
}

/** What every expert reads and writes. */
export const experts: Section<RunRecord & { samples: Samples }> = {
  id: "experts",
  title: "What the experts read and write",
  when: ({ partition }) => partition !== null,
  text: ({ partition, names, samples, config: { configuration: { levels } } }) => {
    const written = aboutSamples(samples);
    if (names === null) {
      const texts = [...samples.texts].map(([expert, text]) =>
        markup`<h3>${capital(expertLine(expert, expertPath(expert, levels)).name)}</h3>\n${sampleHtml(text)}`
      );
      return markup`<p>The words and texts of the experts are not here, as the shards of their parts or their tokenizer
are not.${written}</p>${texts}`;
    }
    const { costs, parts } = partition!;
    const unit = costs === undefined ? "nats per prefix token" : "in cost";
    return [
      markup`<p>${about(names)}${written}</p>`,
      names.slice(0, MOST_EXPERTS).map((name) =>
        expertHtml(name, parts[name.expert], { unit, levels }, samples.texts.get(name.expert))
      ),
    ];
  },
};
