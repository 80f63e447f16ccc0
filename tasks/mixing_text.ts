/**
 * Lays out mixtures of several experts, what margins tell, and a fallback, as an evaluation found them.
 *
 * @module
 */

import { type Evaluation, sideOf } from "../pipeline/evaluation/mod.ts";
import { interval, percent, perplexity, table } from "./layout.ts";

const nats = (value: number): string => value.toPrecision(3);

/** Lays out how well a margin tells whether the choice is right; nothing where there is no choice. */
export function reliabilityText({ reliability, experts }: Evaluation): string[] {
  if (reliability === undefined || experts === 1) return [];
  const { bins, ...all } = reliability;
  const row = (margin: string, { sequences, right, loss }: typeof all) => [
    ...[margin, sequences, percent(right)],
    loss === null ? "-" : `${nats(loss)} nats`,
  ];
  const rows = bins.map(({ from, to, ...bin }) => row(`${nats(from)} to ${nats(to)}`, bin));
  return [
    "",
    table("margin | sequences | best in hindsight | loss where not", [...rows, row("all", all)]),
  ];
}

/** Lays out mixtures of several experts; nothing where none was asked for. */
export function mixingText({ mixing }: Evaluation): string[] {
  if (mixing === undefined) return [];
  const { temperature, mixes } = mixing;
  const rows = mixes.map(({ experts, reroute, expertsPerToken, routings, gain, ...score }) => {
    const { side, by, from, to } = sideOf(gain);
    const compared = by === 0
      ? "equal"
      : `${by.toFixed(1)}% ${side} (${from.toFixed(1)} to ${to.toFixed(1)})`;
    return [
      `${experts}${reroute === null ? "" : `, weighed anew every ${reroute} tokens`}`,
      ...[
        perplexity(score.perplexity),
        interval(score.low, score.high),
        expertsPerToken.toFixed(2),
        routings.toFixed(1),
      ],
      compared,
    ];
  });
  return [
    "",
    table(
      "experts together | perplexity | 95% interval | experts run per token | routings | against the mixture",
      rows,
    ),
    `weights: costs over a routing temperature of ${temperature}`,
  ];
}

/** Lays out what is sent to a dense model by margin; nothing where none was asked for. */
export function fallbackText({ fallback }: Evaluation): string[] {
  if (fallback === undefined) return [];
  const { model, chosen, curve } = fallback;
  const told = curve.filter((_, i) => i % 2 === 0 || i === curve.length - 1);
  const row = ({ margin, share, ...score }: typeof curve[number], as: string) => [
    ...[margin === null ? "all" : `below ${nats(margin)}${as}`, percent(share)],
    ...[perplexity(score.perplexity), interval(score.low, score.high)],
  ];
  return [
    "",
    table(`margin | sent to ${model} | perplexity | 95% interval`, [
      ...told.map((point) => row(point, "")),
      ...chosen ? [row(chosen, " (as asked)")] : [],
    ]),
  ];
}
