/**
 * Derives a run from another one: text is added or forgotten, or an expert is replaced, dropped or
 * split. What that does not touch keeps its bytes.
 *
 *   deno task derive --from runs/a --run runs/b --forget 'letters/*.txt'
 */
import { InputError, say, setting } from "../kernels/errors.ts";
import { duration } from "../pipeline/graph/mod.ts";
import { countText, percent } from "../pipeline/graph/numbers.ts";
import { field } from "../pipeline/settings/mod.ts";
import {
  derive,
  type Derived,
  type DeriveOptions,
  type DerivePlan,
  describeDescendant,
  planDerive,
  type RunWatch,
} from "../pipeline/run/mod.ts";
import { EXPERT_STATES } from "../pipeline/stages/mod.ts";
import { COPY_RULE } from "../pipeline/text/mod.ts";
import { fromHere } from "./cli/arguments.ts";
import { defineTask } from "./cli/command.ts";
import { counted, lines, table } from "./cli/layout.ts";
import { worded } from "./cli/wording.ts";
import { DEVICE, take } from "./cli/options.ts";

export const TASK = await defineTask({
  name: "derive",
  options: {
    ...take("run", "check"),
    from: field.path({ value: "RUN" }, "the run to derive from, which stays as it is"),
    add: field.paths(
      {},
      "text to add: a file, pattern or folder; experts go on with it; repeatable",
    ),
    newExpert: field.paths({}, "text to add for an expert and a router of its own; repeatable"),
    forget: field.texts(
      { value: "PATTERN" },
      "documents to forget, by the paths of their files; repeatable",
    ),
    forgetSource: field.texts(
      { value: "NAME" },
      "documents to forget, by their source; repeatable",
    ),
    forgetIds: field.text({ value: "ID,…|FILE" }, "documents to forget, by their ids"),
    forgetCopies: field.flag(
      "forget the copies of these documents too, which are listed in any case",
    ),
    forgetNear: field.number(
      { min: 0.01, max: 1 },
      `least share of runs of three words that makes a copy; ${COPY_RULE.near} unless given`,
    ),
    forgetPassage: field.integer(
      { value: "WORDS", min: 5 },
      `least words in a row that make a copy; ${COPY_RULE.passage} unless given`,
    ),
    routers: field.choice(
      ["keep", "relearn"],
      { default: "keep" },
      "what has seen forgotten text: keep tokenizer and routers, or learn everything " +
        "again without it",
    ),
    replaceExpert: field.texts(
      { value: "N=FOLDER" },
      "put a checkpoint in the place of an expert; repeatable",
    ),
    dropExpert: field.integer(
      { value: "N", min: 0 },
      "drop an expert: its text goes to the others, which go on with it",
    ),
    splitExpert: field.integer(
      { value: "N", min: 0 },
      "split an expert: two new routers divide its text, and two experts begin with its weights",
    ),
    replay: field.number(
      { min: 0, max: 0.99, default: 0.5 },
      "share of old sequences by which experts learn text that they get",
    ),
    noTrain: field.flag(
      "leave the training of experts to train-expert; next to a dropped one they stay as they are",
    ),
    dryRun: field.flag("print what would be forgotten, kept and trained, and make nothing"),
    ...take("workers", "requireGpu"),
    ...DEVICE,
  },
  run: async ({ options, print, ...watch }) => {
    const { from, forget = [], forgetSource = [], forgetIds, replaceExpert = [], ...further } =
      options;
    const { forgetCopies, forgetNear: near, forgetPassage: passage, ...runOptions } = further;
    const copies = { forget: forgetCopies, near, passage };
    const named = { paths: forget, sources: forgetSource, ids: await parseIds(forgetIds) };
    const replace = replaceExpert.map(parseReplaced);
    if (from === undefined) {
      throw new InputError("Cannot derive as --from must be given: it is not");
    }
    await runDerive({ ...runOptions, from, forget: named, copies, replace }, watch, print);
  },
}, import.meta);

/** Derives a run, or only plans that, and prints what happens. */
export async function runDerive(
  options: DeriveOptions & { dryRun?: boolean },
  watch: RunWatch,
  print: (result: unknown, text: string) => void,
): Promise<void> {
  const plan = options.dryRun ? await planDerive(options) : await derive(options, watch);
  if (options.dryRun) {
    for (const message of plan.warnings) watch.onEvent?.({ type: "warning", message });
  }
  print({ ...plan, warnings: plan.warnings.map(worded) }, deriveText(plan));
}

/** Reads ids of documents: a list with commas, or a file of ids. */
async function parseIds(text = ""): Promise<string[]> {
  if (/^(\d+(,\d+)*)?$/.test(text)) return text.split(",").filter(Boolean);
  const read = await Deno.readTextFile(fromHere(text)).catch((cause) => {
    const fact = say`Cannot forget documents as ${
      setting("forgetIds")
    } must be ids or a file of ids`;
    throw new InputError(say`${fact}: "${text}" is neither`, { where: text, cause });
  });
  const ids = read.split(/[\s,]+/).filter(Boolean);
  const wrongId = ids.find((id) => !/^\d+$/.test(id));
  const wrong = wrongId === undefined ? "there is none" : `one is "${wrongId}"`;
  const must = say`Cannot forget documents as ids of ${setting("forgetIds")} must be numbers`;
  if (ids.length === 0 || wrongId !== undefined) {
    throw new InputError(say`${must}: ${wrong}`, { where: text });
  }
  return ids;
}

/** Reads which checkpoint takes the place of which expert. */
function parseReplaced(text: string): { expert: number; from: string } {
  const [, expert, from] = /^(\d+)=(.+)$/s.exec(text) ?? [];
  if (from !== undefined) return { expert: Number(expert), from: fromHere(from) };
  const rule = say`Cannot replace an expert as ${setting("replaceExpert")} must be like 3=FOLDER`;
  throw new InputError(say`${rule}: it is "${text}"`);
}

/** Words the sequences of an expert that are counted only once text is read and assigned. */
function sequencesLater({ pairs, split, dropped, added }: DerivePlan, isNew: boolean): string {
  if (pairs) return "its pairs";
  if (split) return "a half";
  if (isNew) return "the added text";
  return dropped || added.length > 0 ? "more" : "learned anew";
}

/** Lays out what a derivation does, or would do. */
function deriveText(plan: DerivePlan | Derived): string {
  const { run, from, forgotten, copies, added, dropped, split, pairs, experts, seconds } = plan;
  const { descends, below } = plan;
  const rows = experts.map(({ expert, was, state, sequences: { before, now } }) => {
    const then = was === null || was === expert ? "" : `; it was expert ${was}`;
    const left = now ?? sequencesLater(plan, was === null);
    return [expert, before, left, EXPERT_STATES[state][1] + then];
  });
  const itsText = ({ expert, sequences }: NonNullable<DerivePlan["split"]>) =>
    `expert ${expert}: its ${counted(sequences, "sequences")}`;
  return "\n" + lines(
    table("expert | sequences before | now | what", rows) + "\n",
    forgotten.documents > 0 &&
      `forgotten        ${counted(forgotten.documents, "documents")}, ${
        counted(forgotten.tokens, "tokens")
      }${forgotten.asCopies > 0 ? `; ${forgotten.asCopies} of them as copies` : ""}`,
    copies.length > 0 && copiesText(copies, forgotten.asCopies > 0),
    dropped && `dropped          ${itsText(dropped)} go to the others`,
    split && `split            ${itsText(split)} are divided by two routers`,
    added.length > 0 && `added            ${added.join(", ")}`,
    pairs &&
      `pairs            ${countText(pairs.count)}: about ${
        counted(pairs.steps, "steps")
      } of an expert`,
    seconds > 0 && `training         took ${duration(Math.ceil(seconds))} in ${from}`,
    descends.map((descendant, i) =>
      `${i === 0 ? "may have seen it " : "                 "}${descendant}`
    ),
    below.map((descendant, i) =>
      `${i === 0 ? "made from it     " : "                 "}${describeDescendant(descendant)}`
    ),
    "partition" in plan && [
      `largest load     ${percent(plan.deviation)} from an equal one`,
      `root hash        ${plan.partition.sha256}`,
    ],
    `run folder       ${run}, from ${from}`,
  );
}

/** Lays out the copies of forgotten documents, with a line of each. */
function copiesText(copies: DerivePlan["copies"], areForgotten: boolean): string {
  const rows = copies.map(({ path, place, document, side, expert, kind, share, of, line }) => [
    `${path}:${place}`,
    document,
    side === "train" ? `expert ${expert}` : "held out",
    kind === "near" ? `near ${percent(share)}` : kind,
    `${of.path}:${of.place}`,
    `"${line}"`,
  ]);
  const fate = areForgotten
    ? "are forgotten as well"
    : say`stay: ${setting("forgetCopies")} forgets them as well`;
  const title = `copies           ${counted(copies.length, "documents")}, which ${worded(fate)}`;
  return `${title}\n${table("document | id | where | copy | of | line", rows)}`;
}
