/**
 * Tells of stages while their nodes are made: begun, done, up to date, copied, and how far.
 *
 * @module
 */

import type { RunEvent } from "../run/events.ts";
import type { Manifest } from "./manifest.ts";
import type { Node } from "./node.ts";
import type { Walk } from "./walk.ts";

interface StageProgress {
  nodes: number;
  made: Set<string>;
  results: Record<string, unknown>[];
  began?: number;
  from: Set<string>;
}

/** Turns what happens to nodes into events of their stages. */
export class StageEvents {
  readonly #stages = new Map<string, StageProgress>();

  /** Tells `emit` of the stages of these nodes. */
  constructor(private readonly tell: (event: RunEvent) => void, nodes: readonly Node[]) {
    for (const { maker: { stage }, given } of nodes) {
      if (given) continue;
      const known = this.#stages.get(stage) ?? { nodes: 0, made: new Set(), results: [], from: new Set() };
      known.nodes++;
      this.#stages.set(stage, known);
    }
  }

  /** Notes that a stage begins here, if it has not. */
  begins(stage: string): void {
    const known = this.#stages.get(stage)!;
    if (known.began !== undefined) return;
    known.began = performance.now();
    this.tell({ type: "stage", stage, state: "started" });
  }

  /** Notes that a node was linked from another run. */
  linked({ maker: { stage } }: Node, { made: { from } }: Manifest): void {
    this.#stages.get(stage)!.from.add(from!);
  }

  /** Notes that a node is there. Says whether that is news. */
  isMade({ name, maker: { stage }, given }: Node, walk: Walk): boolean {
    const known = this.#stages.get(stage);
    if (given || !known || known.made.has(name)) return false;
    known.made.add(name);
    known.results.push(walk.manifest(name).result);
    if (known.made.size < known.nodes) return true;
    const { began, from } = known;
    const result = sumResults(known.results);
    if (began !== undefined) {
      this.tell({ type: "stage", stage, state: "done", seconds: (performance.now() - began) / 1000, result });
    } else if (from.size > 0) this.tell({ type: "stage", stage, state: "copied", from: [...from], result });
    else this.tell({ type: "stage", stage, state: "up to date", result });
    return true;
  }

  /** Passes on what a maker tells; of its progress, also how many nodes of the stage are done. */
  emit(stage: string, event: RunEvent): void {
    const known = this.#stages.get(stage)!;
    const isOne = event.type !== "progress" || known.nodes === 1;
    this.tell(isOne ? event : { ...event, node: known.made.size, nodes: known.nodes });
  }
}

/** Counts that add up over the nodes of a stage. */
const COUNTS = [
  "documents",
  "emptyDocuments",
  "tokens",
  "sequences",
  "trainSequences",
  "testSequences",
  "droppedTails",
];

/** Adds up the counts of a stage's nodes. Of everything else the last node's value counts. */
function sumResults(results: readonly Record<string, unknown>[]): Record<string, unknown> {
  const sum: Record<string, unknown> = {};
  for (const result of results) {
    for (const [name, value] of Object.entries(result)) {
      const before = sum[name];
      sum[name] = typeof before === "number" && COUNTS.includes(name) ? before + Number(value) : value;
    }
  }
  return sum;
}
