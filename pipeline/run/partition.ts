/**
 * Runs the main job in a run folder: text in, balanced shards per expert out (SmallTalk LM,
 * Algorithm 1, up to the training data of the experts). Sums it up for people and for `--json`,
 * from the manifests of its nodes, and compares it with another one by its fingerprint: one hash
 * over its shards and its partitioner, the same wherever the same bytes were made.
 *
 * @module
 */

import * as v from "valibot";
import { InputError, type Text } from "../../kernels/errors.ts";
import { NAMES, noteFiles, PARTITIONER, PRUNED, readManifest, SEQUENCES } from "../graph/node.ts";
import { addProofs, gapPerRow, gapShare, type Proof } from "../partition/assignment/assignment.ts";
import { partitionCounts } from "../partition/metrics.ts";
import { type Branch, expertPath, listBranches } from "../partition/tree/branches.ts";
import type { RoundMetrics } from "../graph/events.ts";
import { sha256, shortHash } from "../graph/files.ts";
import { count, readJson } from "../graph/schema.ts";
import { blocksIn } from "../text/counts.ts";
import { compareBytes } from "../text/glob.ts";
import { INDEX } from "../stages/documents.ts";
import { readParts, sideCounts } from "../stages/parts.ts";
import { stageStates } from "./plan.ts";
import { makePartition, makeStage, type RunOptions, type RunWatch } from "./run.ts";
import { assignmentNode, scoresNode } from "../stages/token_rows.ts";
import type { SourceCounts } from "../stages/tokenize.ts";

/** What {@linkcode partition} takes. */
export type PartitionOptions = RunOptions;

/**
 * Partitions text into balanced shards, one set per expert. What a run folder already holds and is
 * up to date is not made again. So a run that was stopped at any moment goes on, to the same bytes.
 *
 * Throws an `InputError` for impossible settings and bad input. Throws a `RunError` where there is
 * no GPU, the disk is full or a loss is not finite. Throws the signal's reason where it ends the
 * run.
 */
export async function partition(
  options: PartitionOptions,
  watch: RunWatch = {},
): Promise<PartitionSummary> {
  const { stages } = await makePartition(options, watch);
  const runs = stages.map(({ stage, state, seconds = 0 }): StageRun => ({
    stage,
    state: state === "done" ? "run" : "skipped",
    seconds,
  }));
  return await summarizeRun(options.run, runs);
}

/**
 * Runs one stage in a run folder, after what it needs, and returns its counts; a part makes its
 * share of it, and tells how many of the stage's nodes are made. What a stage on request needs must
 * be there; it makes what is requested. Throws what {@linkcode partition} throws.
 */
export async function runOneStage(
  { stage, request = {}, ...options }: RunOptions & { stage: string; request?: object },
  watch: RunWatch = {},
): Promise<Record<string, unknown>> {
  const { walk, text, stages } = await makeStage(options, watch, stage, request);
  const nodes = walk.graph;
  const { result = {} } = stages.findLast((ended) => ended.stage === stage) ?? {};
  if (options.part) {
    walk.refresh(); // others have made some of it as well
    const state = (await stageStates(walk)).find((state) => state.stage === stage);
    const nodesMade = state ? state.nodes - state.toMake : 0;
    return { nodes: state?.nodes ?? 0, made: nodesMade, closed: state?.toMake === 0, ...result };
  }
  if (result.proof) return { ...result, proof: proofSummary(result.proof as Proof) };
  if (nodes.some(({ maker }) => maker.stage === stage)) return result;
  const files = new Set(
    text?.blocks?.flatMap(({ pieces }) => pieces.map(({ file: { path } }) => path)),
  );
  return stage === "corpus" ? { files: files.size, blocks: text?.blocks?.length ?? 0 } : result;
}

/**
 * The training sequences of one expert in numbers: its id, its sequences and their real tokens,
 * padding left out; and held-out sequences that would be routed to it.
 */
export interface ExpertSummary
  extends Record<"expert" | "sequences" | "tokens" | "testSequences", number> {
  /** Where it is in a tree, such as `2.5`. */
  path?: string;
  /** Mean prefix NLL under the expert's router, nats per predicted token. */
  nllPerToken: number | null;
  /** Sequences by source. */
  sources: Record<string, number>;
  /**
   * Words, or pairs of tokens, that set it apart in a sample, the most telling first; none where
   * nothing does.
   */
  words: string[];
}

/** What a partition did about a stage. */
export interface StageRun {
  /** The stage. */
  stage: string;
  /** Whether it ran, or was up to date. */
  state: "run" | "skipped";
  /** How long it took, in seconds; 0 for one that was skipped. */
  seconds: number;
}

/** What an assignment proves, and the figures that follow from it. */
export interface ProofSummary extends Omit<Proof, "prices"> {
  /** By how much the cost exceeds the bound, per sequence: with routers in nats. */
  gapPerSequence: number;
  /** The same as a share of what balancing costs. */
  gapShare: number;
  /** By which such share the cost of the greedy rule exceeds the bound. */
  greedyGapShare?: number;
}

/** How a level of a tree was assigned. */
export interface LevelSummary {
  /** Training sequences that each of its branches or experts got, in the order of all. */
  loads: number[];
  /** What the assignments of its branches proved together, where they proved something. */
  proof?: ProofSummary;
}

/**
 * A partition in numbers. Everything but the rounds and the held-out counts is of the whole
 * training set, as assigned. With its fingerprint it is what {@linkcode comparePartition} compares
 * another run with.
 */
export interface PartitionSummary extends Fingerprint {
  /** Run folder. */
  run: string;
  /** What a cost is, where it is not the NLL of a prefix. */
  costs?: string;
  /** What the assignment proved, where it proved something. */
  proof?: ProofSummary;
  /** How each level of a tree was assigned. */
  levels?: LevelSummary[];
  /**
   * Normalised mutual information between expert and source, per sequence; null where there are not
   * two sources.
   */
  nmi: number | null;
  /** Tokens of the largest expert over the mean, less one. */
  tokenImbalance: number;
  /** Cost of balancing, nats per predicted prefix token. */
  regret: number | null;
  /** Mean prefix NLL, nats per predicted token. */
  nllPerToken: number | null;
  /** Share of the sequences that each expert would get without balancing `[E]`. */
  shares: number[];
  /** Metrics of every EM round; none where the routers existed. */
  rounds: RoundMetrics[];
  /** A row per expert. */
  experts: ExpertSummary[];
  /**
   * Documents and tokens that are held out, by source; absent where a run has no index of its text.
   */
  heldOut?: Record<string, { documents: number; tokens: number }>;
  /**
   * Documents that were left out, by reason: `exact` and `near` duplicates, and those with a
   * `passage` of a named text.
   */
  dropped?: Record<string, number>;
  /** What was done about every stage, in order. */
  stages: StageRun[];
}

/** Sums up a run whose partition is complete. Throws an `InputError` where it is not. */
export async function summarizeRun(
  run: string,
  stages: StageRun[] = [],
): Promise<PartitionSummary> {
  const { settings: { configuration: { routers, levels, dedup, decontaminate } }, parts } =
    await readParts(
      run,
    );
  const { nmi, tokenImbalance, regret, nllPerToken, shares } = partitionCounts(
    parts.map(({ train }) => sideCounts(train)),
  );
  const [assignments] = parts[0].assignments;
  const { costs, proof } = (await readManifest(`${run}/${assignments}`))?.result ?? {};
  const learned = routers === "" ? await readManifest(`${run}/${PARTITIONER}`) : null;
  const names = (await readManifest(`${run}/${NAMES}`))?.result.words as string[][] | undefined;
  // Earlier settings may have left a folder.
  const isPruned = dedup !== "off" || decontaminate.length > 0;
  const dropped = isPruned ? (await readManifest(`${run}/${PRUNED}`))?.result.dropped : undefined;
  const index = (await readManifest(`${run}/${INDEX}`))?.result.sources;
  const byLevel = [...Map.groupBy(listBranches(levels), ({ length }) => length).values()];
  return {
    run,
    ...costs === undefined ? {} : { costs: String(costs) },
    ...proof === undefined ? {} : { proof: proofSummary(proof as Proof) },
    ...levels.length > 0
      ? { levels: await Promise.all(byLevel.map((manifests) => summarizeLevel(run, manifests))) }
      : {},
    nmi,
    tokenImbalance,
    regret,
    nllPerToken,
    shares,
    rounds: (learned?.result.rounds ?? []) as RoundMetrics[],
    experts: parts.map(({ expert, train, test }) => ({
      expert,
      path: expertPath(expert, levels),
      sequences: train.sequences,
      tokens: train.tokens,
      nllPerToken: train.nllPerToken,
      sources: Object.fromEntries(
        Object.entries(train.sources).map(([name, { sequences }]) => [name, sequences]),
      ),
      words: names?.[expert] ?? [],
      testSequences: test.sequences,
    })),
    ...index === undefined ? {} : { heldOut: sumHeldOut(index as Record<string, SourceCounts>) },
    ...dropped === undefined ? {} : { dropped: dropped as Record<string, number> },
    stages,
    ...await takeFingerprint(run),
  };
}

async function summarizeLevel(run: string, branches: readonly Branch[]): Promise<LevelSummary> {
  const manifests = await Promise.all(
    branches.map((branch) => readManifest(`${run}/${assignmentNode(branch)}`)),
  );
  const results = manifests.map((manifest) => manifest?.result ?? {});
  const proofs = results.flatMap(({ proof }) => proof ? [proof as Proof] : []);
  return {
    loads: results.flatMap(({ loads = [] }) => loads as number[]),
    ...proofs.length > 0 ? { proof: proofSummary(addProofs(proofs)) } : {},
  };
}

/** Computes the figures that follow from a proof. */
export function proofSummary({ prices: _, ...proof }: Proof): ProofSummary {
  const { greedy } = proof;
  const greedyGap = greedy === undefined ? {} : { greedyGapShare: gapShare(proof, greedy) };
  return { ...proof, gapPerSequence: gapPerRow(proof), gapShare: gapShare(proof), ...greedyGap };
}

function sumHeldOut(sources: Record<string, SourceCounts>): PartitionSummary["heldOut"] {
  const entries = Object.entries(sources).map(([name, { documents, tokens }]) =>
    [name, { documents: documents.test, tokens: tokens.test }] as const
  );
  return Object.fromEntries(entries);
}

/** Something that is wrong in a run. */
export interface Problem {
  /** The file, by its path in the run folder; where a row is wrong, also batch and row. */
  file: string;
  /** What must be true, and what is. */
  what: Text;
  /** How to mend it. */
  remedy: Text;
}

/**
 * Fingerprints the partition of a run as its manifests describe it. A partitioner that lies
 * elsewhere counts as if it lay in the run. Throws an `InputError` where the partition is not
 * complete.
 */
async function takeFingerprint(run: string): Promise<Fingerprint> {
  const { settings: { configuration: { routers }, versions }, parts } = await readParts(run);
  const learned = routers || `${run}/${PARTITIONER}`;
  const partitioner = await readManifest(learned);
  if (!partitioner && routers === "") {
    throw new InputError(
      `Cannot fingerprint "${run}" as it must hold a partitioner: there is none`,
      {
        where: learned,
      },
    );
  }
  const nodes = [...parts.map(({ node, manifest }) => [node, manifest.files] as const)];
  nodes.push([PARTITIONER, partitioner?.files ?? await noteFiles(learned)]);
  const files = nodes.flatMap(([node, files]) =>
    Object.entries(files).map(([name, { bytes, sha256 }]) =>
      [`${node}/${name}`, { bytes, sha256 }] as const
    )
  ).sort(([a], [b]) => compareBytes(a, b));
  const adapter = partitioner?.made.adapter ?? await scoringAdapter(run);
  return {
    sha256: sha256(files.map(([path, file]) => `${file.sha256}  ${path}\n`).join("")),
    files: Object.fromEntries(files),
    versions,
    adapter: adapter ?? null,
  };
}

/** Gives the adapter that scored the first block of a run. */
async function scoringAdapter(run: string): Promise<string | undefined> {
  const list = await readManifest(`${run}/${SEQUENCES}`);
  const [name] = list ? blocksIn(list) : [];
  return (name && await readManifest(`${run}/${scoresNode({ name })}`) || undefined)?.made.adapter;
}

/**
 * Compares the partition of a run with one made elsewhere: its root hash, or the file that holds
 * its summary as JSON. Gives no problem where both are the same bytes. Throws an `InputError` for a
 * file that holds something else.
 */
export async function comparePartition(run: string, against: string): Promise<Problem[]> {
  const here = await takeFingerprint(run);
  const isHash = /^[0-9a-f]{64}$/i.test(against);
  if (isHash) return compareFingerprints(here, against.toLowerCase());
  return compareFingerprints(
    here,
    await readJson(against, FINGERPRINT, "what a partition printed as JSON"),
  );
}

const FINGERPRINT = v.object({
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  files: v.record(v.string(), v.object({ bytes: count, sha256: v.string() })),
  versions: v.record(v.string(), v.string()),
  adapter: v.nullable(v.string()),
});

/**
 * What tells one partition from another: the SHA-256 over a line `<sha256>  <path>` per file, as
 * `sha256sum` prints them, in byte order of the paths; size and SHA-256 of every shard and of the
 * partitioner's files, by path in the run folder (`files`); versions of what made the run; the
 * adapter that it used, null where none was opened.
 *
 * @ignore
 */
type Fingerprint = v.InferOutput<typeof FINGERPRINT>;

const MOST_SHOWN = 20; // files that a comparison names as different

const COMPARE = "compare the inputs, the seeds and the settings of both";

/**
 * Reports how a partition differs from one made elsewhere, of which the root hash is known or all;
 * nothing where both are the same.
 */
function compareFingerprints(
  here: Fingerprint,
  wanted: Fingerprint | string,
): { file: string; what: string; remedy: Text }[] {
  const hash = typeof wanted === "string" ? wanted : wanted.sha256;
  if (hash === here.sha256) return [];
  const root = `its root hash must be ${shortHash(hash)}: it is ${shortHash(here.sha256)}`;
  if (typeof wanted === "string") return [{ file: "partition", what: root, remedy: COMPARE }];
  const remedy = suggestRemedy(here, wanted);
  const problems = [{ file: "partition", what: root, remedy }];
  const paths = [...new Set([...Object.keys(wanted.files), ...Object.keys(here.files)])].sort(
    compareBytes,
  );
  const different = paths.filter((path) => wanted.files[path]?.sha256 !== here.files[path]?.sha256);
  for (const file of different.slice(0, MOST_SHOWN)) {
    const [fileThere, fileHere] = [wanted.files[file], here.files[file]];
    const must = fileThere
      ? `its SHA-256 must be ${shortHash(fileThere.sha256)}`
      : "it must not be there";
    const state = fileHere ? fileThere ? shortHash(fileHere.sha256) : "there" : "not there";
    problems.push({ file, what: `${must}: it is ${state}`, remedy });
  }
  const hidden = different.length - MOST_SHOWN;
  if (hidden > 0) problems.push({ file: "partition", what: `${hidden} more files differ`, remedy });
  return problems;
}

/** Reports what to compare: facts that are known to differ come first. */
function suggestRemedy(here: Fingerprint, wanted: Fingerprint): string {
  const facts = ({ versions, adapter }: Fingerprint) =>
    [...Object.entries(versions).map((entry) => entry.join(" ")), adapter ?? "no adapter"].join(
      ", ",
    );
  return facts(wanted) === facts(here)
    ? COMPARE
    : `it was made with ${facts(wanted)} there, with ${facts(here)} here`;
}
