/**
 * Compares the rows of a partition: those of each part with the token rows that were assigned to
 * it, what was assigned with the scores, and what manifests say with both. All files are walked
 * once, side by side, in the memory of a batch of each and the experts of a block.
 *
 * @module
 */

import * as v from "valibot";
import { type Manifest, SEQUENCES } from "../graph/node.ts";
import { Certificate } from "../partition/assignment/assignment.ts";
import { ASSIGNMENTS } from "../partition/assignment/assignments.ts";
import { type Branch, listBranches } from "../partition/tree/branches.ts";
import {
  type Columns,
  findOrigin,
  fromBatch,
  needColumn,
  readArrow,
  type RecordBatch,
} from "../rows/arrow.ts";
import { readFloats, readIntegers } from "../rows/column_values.ts";
import { checkLineage, type Lineage } from "../rows/lineage.ts";
import { byNumber } from "../graph/files.ts";
import { conform, count, finite, MANIFEST } from "../graph/schema.ts";
import { assignmentPlace, BY_PRICES } from "./assign.ts";
import { blocksIn } from "../text/counts.ts";
import { assignmentNode, listBranchRows, scoresNode, tokensNode } from "./token_rows.ts";
import { JoinedRows } from "./learn.ts";
import { type ExpertPart } from "./parts.ts";

/** What is compared. */
interface ComparedParts {
  run: string;
  parts: readonly ExpertPart[]; // of all experts; where these are alone, of some
  alone: boolean; // whether only parts are there, so that their rows are counted alone
  manifests: ReadonlyMap<string, Manifest>; // of the nodes that parts were made of
  lineage: Partial<Lineage>; // what every shard of a part must say of itself
  /** Called with what is wrong: of a part or a block the first row. */
  problem(place: string, fact: string): void;
  /** Called with the rows so far, and with how many there are. */
  onRows(done: number, total: number): void;
}

type Side = "train" | "test";

const ROUNDING = 1e-9; // of the cost that is proven
const NAMES = ["document", "source", "length", "tokens"] as const;

const PROOF = v.object({
  cost: finite,
  bound: finite,
  unbalanced: finite,
  rows: count,
  loads: v.array(count),
  prices: v.optional(v.array(finite)),
});
const ASSIGNED = v.object({ loads: v.array(count), proof: v.optional(PROOF) });

/**
 * Compares all rows. Returns the sequences that were found in each part. Throws what readers throw.
 */
export async function compareParts(compared: ComparedParts): Promise<Record<Side, number[]>> {
  await using open = new AsyncDisposableStack();
  const comparison = new Comparison(compared, open);
  return { train: await comparison.side("train"), test: await comparison.side("test") };
}

class Comparison {
  readonly #blocks: readonly string[];
  readonly #assignments = new Map<
    string,
    v.InferOutput<typeof ASSIGNED> & { certificate?: Certificate }
  >(); // by node
  #method = "";
  readonly #levels: readonly number[]; // of a tree
  #done = 0;
  #total = 0;

  constructor(
    private readonly compared: ComparedParts,
    private readonly open: AsyncDisposableStack,
  ) {
    const { parts, alone, manifests } = compared;
    const names = alone ? [] : parts[0].assignments;
    this.#blocks = alone ? [] : blocksIn(manifests.get(SEQUENCES)!);
    for (const { train, test } of parts) this.#total += train.sequences + test.sequences;
    this.#levels = (manifests.get(names[0] ?? "")?.settings.levels ?? []) as number[];
    for (const name of [...names, ...listBranches(this.#levels).map(assignmentNode)]) {
      const { result, settings } = manifests.get(name)!;
      const assigned = conform(ASSIGNED, result);
      const prices = assigned.proof?.prices;
      this.#assignments.set(name, { ...assigned, certificate: prices && new Certificate(prices) });
      this.#method = String(settings.method); // that of a tree stands in its branches
    }
  }

  async side(side: Side): Promise<number[]> {
    const { parts, alone, manifests, problem } = this.compared;
    const cursors = parts.map((part) => this.#cursor(this.#shards(part, side)));
    const tallies = parts.map(() => ({ sequences: 0, tokens: 0 }));
    const take = (i: number) => {
      tallies[i].sequences++;
      tallies[i].tokens += cursors[i].columns.length[cursors[i].row++];
    };
    // Parts of which a row is wrong: those after it are not compared.
    const wrong = new Set<number>();
    using joined = this.#levels.length > 0 ? await this.#openTree(side) : undefined;
    for (const block of this.#blocks) {
      const node = tokensNode({ name: block });
      const rows = Number(manifests.get(node)!.result[`${side}Sequences`]);
      const experts = joined?.next(rows).expert ?? await this.#assigned(block, side);
      const tokens = this.#cursor(this.#read(`${node}/${side}.arrow`));
      for (const expert of experts) {
        if (!await tokens.fill()) break;
        const part = cursors[expert];
        if (part && !wrong.has(expert)) {
          const fact = await difference(part, tokens);
          if (fact !== undefined) {
            wrong.add(expert);
            problem(part.batch ? part.name : parts[expert].node, fact);
          } else take(expert);
        }
        tokens.row++;
      }
      const read = await tokens.end();
      this.#count(node, `${side}Sequences`, read, rows);
      if (read !== experts.length) {
        problem(node, `its ${read} ${side} sequences must be assigned: ${experts.length} are`);
      }
      this.compared.onRows(this.#done += read, this.#total);
    }
    for (const [i, cursor] of cursors.entries()) {
      if (alone) { while (await cursor.fill()) take(i); }
      else if (await cursor.fill() && !wrong.has(i)) {
        wrong.add(i);
        problem(
          cursor.name,
          "it must be a sequence of the tokens, and not a second time: it is not",
        );
      }
      await cursor.end(); // so that the file is hashed
      for (const name of wrong.has(i) ? [] : ["sequences", "tokens"] as const) {
        this.#count(parts[i].node, `${side} ${name}`, tallies[i][name], parts[i][side][name]);
      }
    }
    const loads = tallies.map(({ sequences }) => sequences);
    if (side === "train" && wrong.size === 0 && !alone) this.#checkAssignment(loads);
    return loads;
  }

  #cursor(batches: AsyncGenerator<RecordBatch>): Cursor {
    return new Cursor(this.open.use(batches));
  }

  async *#read(file: string): AsyncGenerator<RecordBatch> {
    yield* readArrow(`${this.compared.run}/${file}`, file);
  }

  async *#shards({ node, manifest }: ExpertPart, side: Side): AsyncGenerator<RecordBatch> {
    for (const name of Object.keys(manifest.files).sort(byNumber)) {
      if (!name.startsWith(`${side}-`)) continue;
      for await (const batch of this.#read(`${node}/${name}`)) {
        checkLineage(batch, this.compared.lineage, `${this.compared.run}/config.json`);
        yield batch;
      }
    }
  }

  /** Checks the assignments of all branches of a tree, and opens what they say together. */
  async #openTree(side: Side): Promise<JoinedRows> {
    const { run, manifests } = this.compared;
    const blocks = this.#blocks.map((name) => ({ name }));
    for (const branch of listBranches(this.#levels)) {
      for (const { name } of listBranchRows({ branch, blocks })) {
        await this.#assigned(name, side, branch);
      }
    }
    const path = (name: string) => `${run}/${name}`;
    const manifest = (name: string) => manifests.get(name)!;
    return await JoinedRows.open({ path, manifest }, blocks, this.#levels, side);
  }

  /**
   * Reads the experts of a block's or branch's sequences, and checks what they cost against the
   * scores.
   */
  async #assigned(block: string, side: Side, branch?: Branch): Promise<number[]> {
    const isTogether = this.#assignments.has(assignmentNode());
    const { node, file: nameFile } = assignmentPlace(
      { name: block },
      isTogether ? { branch } : BY_PRICES,
    );
    const file = `${node}/${nameFile(side)}`;
    const scores = this.#cursor(this.#read(`${scoresNode({ name: block })}/${side}.arrow`));
    const proof = side === "train" ? this.#assignments.get(node)?.certificate : undefined;
    // Whether each goes where it costs least.
    const isLowest = side === "test" || this.#method === "argmax";
    const all: number[] = [];
    let isWrong = false;
    for await (const batch of this.#read(file)) {
      const sequence = readIntegers(needColumn(batch, "sequence"), BigUint64Array);
      const [expert, best] = ["expert", "best"].map((name) =>
        readIntegers(needColumn(batch, name), Uint16Array)
      );
      const [cost, lowest] = ["cost", "lowest"].map((name) => readFloats(needColumn(batch, name)));
      for (let row = 0; row < batch.numRows; row++, scores.row++) {
        if (!await scores.fill()) break;
        const { columns } = scores;
        const experts = columns.nll!.length / columns.rows;
        const costs = columns.nll!.subarray(scores.row * experts, (scores.row + 1) * experts);
        proof?.add({ costs, experts }, expert.subarray(row, row + 1));
        if (isWrong) continue;
        const isOther = costs[expert[row]] !== cost[row] || costs[best[row]] !== lowest[row] ||
          costs.some((value) => value < lowest[row]);
        const fact = columns.sequence[scores.row] !== sequence[row]
          ? `sequence ${sequence[row]} must be that of its scores`
          : isOther
          ? `costs of sequence ${sequence[row]} must be those of its scores`
          : isLowest && expert[row] !== best[row]
          ? `sequence ${sequence[row]} must be with the expert that it costs least`
          : undefined;
        if (fact === undefined) continue;
        isWrong = true;
        this.compared.problem(`${file}, row ${all.length + row}`, `${fact}: it is not so`);
      }
      all.push(...expert);
    }
    const rows = await scores.end();
    if (rows !== all.length) {
      this.compared.problem(
        file,
        `it must have a row for each of ${rows} scores: it has ${all.length}`,
      );
    }
    return all;
  }

  /** Compares a count of rows with what a manifest says. */
  #count(node: string, name: string, counted: number, said: unknown): void {
    if (said === counted) return;
    this.compared.problem(
      `${node}/${MANIFEST}`,
      `its ${name} must be ${counted}, as its rows are: it says ${said}`,
    );
  }

  /**
   * Checks loads and proofs of the assignment: the rows and the prices are summed again by the
   * definition of a proof.
   */
  #checkAssignment(loads: readonly number[]): void {
    const { problem } = this.compared;
    const said = loads.map(() => 0);
    for (const [name, { loads, proof, certificate }] of this.#assignments) {
      if (this.compared.parts[0].assignments.includes(name)) {
        loads.forEach((load, e) => said[e] += load);
      }
      if (!certificate || !proof) continue;
      const recomputed = certificate.proof;
      const slack = ROUNDING * Math.abs(recomputed.cost);
      for (const figure of ["cost", "bound", "unbalanced", "rows"] as const) {
        if (Math.abs(recomputed[figure] - proof[figure]) <= slack) continue;
        const fact = `as its rows and prices are: it says ${proof[figure]}`;
        problem(
          `${name}/${MANIFEST}`,
          `the ${figure} of its proof must be ${recomputed[figure]}, ${fact}`,
        );
      }
    }
    if (String(said) !== String(loads)) {
      const [name] = this.#assignments.keys();
      const fact = `as rows are: it says ${said.join(", ")}`;
      problem(`${name}/${MANIFEST}`, `its loads must be ${loads.join(", ")}, ${fact}`);
    }
    if (!ASSIGNMENTS.get(this.#method)?.balanced) return;
    const [, ...branches] = this.#assignments.values(); // of a tree: each is balanced
    for (const { loads: branchLoads } of branches.length > 0 ? branches : [{ loads }]) {
      if (Math.max(...branchLoads) - Math.min(...branchLoads) <= 1) continue;
      problem(
        "partition",
        `loads must be equal, or differ by one: they are ${branchLoads.join(", ")}`,
      );
    }
  }
}

/** Reports how the next row of a part differs from a token row that was assigned to it. */
async function difference(part: Cursor, tokens: Cursor): Promise<string | undefined> {
  const id = tokens.columns.sequence[tokens.row];
  const must = `sequence ${id} of ${tokens.name} must be here, unchanged`;
  if (!await part.fill()) return `${must}: the part ends before it`;
  const sequence = part.columns.sequence[part.row];
  if (sequence !== id) return `${must}: sequence ${sequence} is`;
  const name = NAMES.find((name) => !isSame(name, part, tokens));
  return name && `${must}: its ${name} ${name === "tokens" ? "differ" : "differs"}`;
}

function isSame(name: keyof Columns, a: Cursor, b: Cursor): boolean {
  const [x, y] = [a.columns[name], b.columns[name]] as (ArrayLike<unknown> | undefined)[];
  if (!x || !y) return x === y;
  const width = x.length / a.columns.rows;
  if (width !== y.length / b.columns.rows) return false;
  for (let i = 0; i < width; i++) if (x[a.row * width + i] !== y[b.row * width + i]) return false;
  return true;
}

/**
 * A place in a stream of batches, which is read at the reader's own pace, so that several can be
 * walked side by side.
 */
class Cursor {
  /** The current batch; undefined before the first. */
  batch?: RecordBatch;
  columns: Columns = { rows: 0, sequence: new BigUint64Array(), length: new Uint32Array() };
  /** Its next row. */
  row = 0;
  #before = 0; // rows of the batches before it

  constructor(readonly batches: AsyncGenerator<RecordBatch>) {}

  /** Reads on until it is at a row; returns false at the end of the stream. */
  async fill(): Promise<boolean> {
    while (this.row === this.columns.rows) {
      const { value, done } = await this.batches.next();
      if (done) return false;
      this.#before += this.row;
      [this.batch, this.columns, this.row] = [value, fromBatch(value), 0];
    }
    return true;
  }

  /** Passes all rows that are left, and counts those of the whole stream. */
  async end(): Promise<number> {
    while (await this.fill()) this.row = this.columns.rows;
    return this.#before + this.row;
  }

  /** Where the next row stands, for messages: file, batch, and row in that batch. */
  get name(): string {
    return `${this.batch ? findOrigin(this.batch) : "the stream"}, row ${this.row}`;
  }
}
