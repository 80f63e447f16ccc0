/**
 * Reads what a derivation changes, and lays out what it does.
 *
 * @module
 */

import { InputError, say, setting } from "../kernels/errors.ts";
import { duration } from "../pipeline/run/mod.ts";
import { type Derived, type DerivePlan, EXPERT_STATES } from "../pipeline/stages/mod.ts";
import { fromHere } from "./arguments.ts";
import { counted, lines, percent, table } from "./layout.ts";

/** Reads ids of documents: a list with commas, or a file with an id a line. */
export async function parseIds(text: string | undefined): Promise<string[]> {
  if (!text) return [];
  const isList = /^\d+(,\d+)*$/.test(text);
  const list = isList ? text.split(",") : (await Deno.readTextFile(fromHere(text)).catch((cause) => {
    const what = say`Cannot forget documents as ${setting("forgetIds")} must be ids or a file of ids`;
    throw new InputError(say`${what}: "${text}" is neither`, { where: text, cause });
  })).split("\n").map((line) => line.trim()).filter(Boolean);
  const wrong = list.find((id) => !/^\d+$/.test(id));
  if (wrong === undefined) return list;
  throw new InputError(`Cannot forget documents as an id must be a number: it is "${wrong}"`, {
    where: text,
  });
}

/** Reads which checkpoint takes the place of which expert. */
export function parseReplaced(text: string): { expert: number; from: string } {
  const [, expert, from] = /^(\d+)=(.+)$/s.exec(text) ?? [];
  if (from !== undefined) return { expert: Number(expert), from: fromHere(from) };
  const rule = say`Cannot replace an expert as ${setting("replaceExpert")} must be like 3=FOLDER`;
  throw new InputError(say`${rule}: it is "${text}"`);
}

/** Lays out what a derivation does, or would do. */
export function deriveText(plan: DerivePlan | Derived): string {
  const { run, from, forgotten, added, dropped, split, experts, seconds, descends } = plan;
  const rows = experts.map(({ expert, was, state, sequences: { before, now = "" } }) => {
    const then = was === null || was === expert ? "" : `; it was expert ${was}`;
    return [expert, before, now, EXPERT_STATES[state][1] + then];
  });
  const itsText = ({ expert, sequences }: NonNullable<DerivePlan["split"]>) =>
    `expert ${expert}: its ${counted(sequences, "sequences")}`;
  return "\n" + lines(
    table("expert | sequences before | now | what", rows) + "\n",
    forgotten.documents > 0 &&
      `forgotten        ${counted(forgotten.documents, "documents")}, ${counted(forgotten.tokens, "tokens")}`,
    dropped && `dropped          ${itsText(dropped)} go to the others`,
    split && `split            ${itsText(split)} are divided by two routers`,
    added.length > 0 && `added            ${added.join(", ")}`,
    seconds > 0 && `training         took ${duration(Math.ceil(seconds))} in ${from}`,
    descends.map((what, i) => `${i === 0 ? "has seen it      " : "                 "}${what}`),
    "partition" in plan && [
      `largest load     ${percent(plan.deviation)} from an equal one`,
      `root hash        ${plan.partition.sha256}`,
    ],
    `run folder       ${run}, from ${from}`,
  );
}
