/**
 * Makes the nodes of a run that are missing. Any number of processes on any number of machines may
 * do so in one folder: each node comes to be by a rename, so whoever makes it first has made it,
 * and whoever comes second finds the same bytes there.
 *
 * @module
 */

import { InputError, RunError } from "../../kernels/errors.ts";
import { readDriver } from "./driver.ts";
import type { RunEvent } from "./events.ts";
import { recordTime } from "./timing.ts";
import {
  beginNode,
  linkFile,
  linkNode,
  publish,
  removeFolder,
  removeScratch,
  removeSpent,
  tidyPartials,
} from "./folder.ts";
import { type Lock, type Owner, processText, takeLock } from "./lock.ts";
import {
  type FileNote,
  type Maker,
  type Making,
  type Manifest,
  type Node,
  noteFiles,
  splitNeed,
  withNeeds,
  type Work,
  writeManifest,
} from "./node.ts";
import { changedInput, type NodeState, type Walk } from "./walk.ts";

/** How nodes are made. */
export interface MakeOptions {
  /** Name of the task, for those who wait for it. */
  task: string;
  /**
   * Chooses what must be made in the end, with everything that it needs; all nodes unless given.
   */
  wanted?: (node: Node) => boolean;
  /** Chooses what this process makes first. It also makes what else is needed and nobody makes. */
  mine?: (node: Node) => boolean;
  /** Other runs, from which nodes of the same keys are linked. */
  reuse?: readonly string[];
  /** Takes the lock of a node. A test takes the locks away. */
  lock?: typeof takeLock;
}

const [SOON_MS, LATE_MS] = [50, 2_000];
const TELL_MS = 1_000; // of waiting, after which it is reported for whom
// Of waiting, after which nothing stays open; a round that others end soon finds all in place.
const CLOSE_MS = 60_000;

/**
 * Makes the missing nodes of a graph, in its order, and notes them in the `walk`. Throws what
 * makers throw; an `InputError` where a given node is not there; the reason of the signal
 * where that ends the work. Whatever ends it, the next call goes on.
 */
export async function makeAll(work: Work, walk: Walk, options: MakeOptions): Promise<void> {
  const process = new Process(work, walk, options);
  await tidyPartials(work.run);
  try {
    await process.makeWanted();
  } finally {
    process.close();
  }
  await removeSpent(walk);
}

/** What a manifest notes of a device. */
type Device = Pick<Manifest["made"], "adapter" | "driver">;

/** What one process makes of a run. */
class Process {
  #open?: Maker; // the maker that made something last
  #device?: Device; // on which nodes are being made
  readonly #drivers = new Map<string, Promise<string | undefined>>(); // by adapter
  #isTold = false; // that the driver differs from that of inputs
  readonly #gpu: Work["gpu"];
  readonly #events: StageEvents;
  readonly #nodes: Node[];
  readonly #own: number;

  constructor(
    private readonly work: Work,
    readonly walk: Walk,
    private readonly options: MakeOptions,
  ) {
    const { wanted = () => true, mine = () => true } = options;
    // Makers may keep this from one node to the next.
    this.#gpu = async () => {
      const gpu = await work.gpu();
      const driver = this.#drivers.getOrInsertComputed(gpu.adapter, () => readDriver(gpu));
      this.#device = { adapter: gpu.adapter, driver: await driver };
      return gpu;
    };
    const nodes = withNeeds(walk.graph, wanted);
    const ownNodes = nodes.filter(mine);
    this.#own = ownNodes.length;
    // A node of this process may come before one that it needs: it waits until that is made.
    this.#nodes = [...ownNodes, ...nodes.filter((node) => !mine(node))];
    this.#events = new StageEvents(work.emit, nodes);
  }

  /** Makes what is missing, and waits for what others make. */
  async makeWanted(): Promise<void> {
    for (let pause = SOON_MS, waited = 0;;) {
      const { left, madeOne, held } = await this.#makeOnce();
      if (left === 0) return;
      if (madeOne) [pause, waited] = [SOON_MS, 0];
      else if (held) {
        if (waited <= TELL_MS && waited + pause > TELL_MS) {
          this.work.emit({ type: "warning", message: waitText(held) });
        }
        waited += pause;
        if (waited > CLOSE_MS) this.close();
        await new Promise((done) => setTimeout(done, pause));
        pause = Math.min(1.5 * pause, LATE_MS);
      }
    }
  }

  /** Closes what a maker kept open. */
  close(): void {
    this.#open?.close?.();
    this.#open = undefined;
    this.#device = undefined;
  }

  /**
   * Goes through all nodes once. It returns early after it has made a node of another process's
   * share, because a node of its own share may be ready now.
   */
  async #makeOnce(): Promise<{ left: number; madeOne: boolean; held?: Owner }> {
    let left = 0;
    let madeOne = false;
    let held: Owner | undefined;
    this.walk.refresh();
    for (const [i, node] of this.#nodes.entries()) {
      this.work.signal?.throwIfAborted();
      if (await this.#isMade(node)) continue;
      left++;
      if (node.given) throw missing(this.walk.path(node.name), await this.walk.of(node));
      if (!await this.#isReady(node)) continue;
      const owner = await this.#makeFrom(i);
      if (owner) {
        held = owner;
        continue;
      }
      madeOne = true;
      if (i >= this.#own && this.#own > 0) break;
    }
    return { left, madeOne, held };
  }

  /**
   * Returns whether a node is there, which is linked first where another run has made it. That
   * takes no lock.
   */
  async #isMade(node: Node): Promise<boolean> {
    const { state } = await this.walk.of(node);
    if (state !== "made" && state !== "spent") {
      const { reuse = [] } = this.options;
      const linked = state === "waits" || node.given
        ? null
        : await linkNode(this.walk, node, reuse);
      if (!linked) return false;
      this.#events.linked(node, linked);
    }
    if (this.#events.isMade(node, this.walk)) {
      for (const [place, file] of Object.entries(node.links ?? {})) {
        await linkFile(this.work.run, place, `${node.name}/${file}`);
      }
    }
    return true;
  }

  /**
   * Returns whether everything that a node needs is there. What is spent of it is made again first.
   */
  async #isReady(node: Node): Promise<boolean> {
    if ((await this.walk.of(node)).state === "waits") return false;
    let ready = true;
    for (const need of node.needs) {
      const { name } = splitNeed(need);
      if ((await this.walk.of(this.walk.node(name))).state !== "spent") continue;
      this.walk.revive(name);
      ready = false;
    }
    return ready;
  }

  /**
   * Makes the node in this place, and others that its maker makes together with it. Returns the
   * process that makes it already.
   */
  async #makeFrom(place: number): Promise<Owner | undefined> {
    const { task, lock = takeLock } = this.options;
    const { maker } = this.#nodes[place];
    const locks: Lock[] = [];
    const batch: Node[] = [];
    try {
      for (let i = place; i < (place < this.#own ? this.#own : this.#nodes.length); i++) {
        const node = this.#nodes[i];
        if (batch.length === (maker.together ?? 1)) break;
        if (node.maker !== maker || await this.#isMade(node) || !await this.#isReady(node)) {
          continue;
        }
        const taken = await lock(this.work.run, node.name, task);
        if ("release" in taken) locks.push(taken);
        else if (i === place) return taken;
        else continue;
        this.walk.refresh();
        // Else another process has made it meanwhile.
        if (!await this.#isMade(node)) batch.push(node);
      }
      if (batch.length > 0) await this.#makeBatch(batch);
    } finally {
      for (const { release } of locks) release();
    }
  }

  async #makeBatch(nodes: readonly Node[]): Promise<void> {
    const { walk, work } = this;
    const [{ maker }] = nodes;
    const notes = nodes.map(() => new Map<string, FileNote>());
    const making: Making[] = [];
    if (this.#open !== maker) this.close();
    this.#open = maker;
    // A maker that stays open keeps its device from one node to the next.
    if (!maker.close) this.#device = undefined;
    try {
      for (const [i, node] of nodes.entries()) making.push(await beginNode(walk, node, notes[i]));
      this.#events.begins(maker.stage);
      const start = performance.now();
      const results = await maker.make(making, {
        ...work,
        gpu: this.#gpu,
        emit: (event) => this.#events.emit(maker.stage, event),
      });
      const read = await Promise.all(nodes.map(async (node) => (await walk.of(node)).inputs));
      // Each once, as nodes of a batch read the same.
      await refuseChanged(work.run, nodes[0].name, Object.assign({}, ...read));
      for (const [i, { node, key, folder, scratch }] of making.entries()) {
        if (results[i] instanceof Error) continue;
        const { name, revision, settings } = node;
        const { inputs = {}, state } = await walk.of(node);
        const files = await noteFiles(folder, notes[i]);
        const result = results[i] as Record<string, unknown>;
        const identity = { key, name, revision, settings: { ...settings }, inputs, files, result };
        const earlier = await this.#inheritedDevice(node);
        this.#tellDriver(node, earlier);
        const manifest = await writeManifest(folder, identity, this.#device ?? earlier);
        const replace = state === "damaged" || walk.isAgain(name);
        walk.made(node, await publish(work.run, name, folder, manifest, replace));
        await removeScratch(work.run, name, scratch);
      }
      const failed = results.find((result) => result instanceof Error);
      if (failed) throw failed;
      const seconds = (performance.now() - start) / 1000;
      await recordTime(work.run, {
        stage: maker.stage,
        nodes: nodes.map(({ name }) => name),
        seconds,
      });
    } catch (error) {
      for (const { folder } of making) await removeFolder(folder);
      // Where no lock kept others away, they may have made the same, and removed what was spent on
      // it.
      work.signal?.throwIfAborted();
      walk.refresh();
      for (const node of nodes) if (!await this.#isMade(node)) throw error;
    }
    for (const node of nodes) await this.#isMade(node);
  }

  /**
   * Gives the device on which a node was computed that was made without one: that of what it is
   * made of. It is the same whatever else this process has made.
   */
  async #inheritedDevice({ needs }: Node): Promise<Device> {
    for (const need of needs) {
      const { manifest } = await this.walk.of(this.walk.node(splitNeed(need).name));
      const { adapter, driver } = manifest?.made ?? {};
      if (adapter !== undefined) return { adapter, driver };
    }
    return {};
  }

  /** Reports once that a node and what it needs were made by different versions of the driver. */
  #tellDriver({ name }: Node, earlier: Device): void {
    const current = this.#device;
    if (this.#isTold || current?.adapter === undefined || earlier.driver === undefined) return;
    if (earlier.driver === (current.driver ?? earlier.driver)) return;
    this.#isTold = true;
    const drivers = `${current.driver}, what it is made of with ${earlier.driver}`;
    const message = `"${name}" is made with ${drivers}: results may differ in their last bits`;
    this.work.emit({ type: "warning", message });
  }
}

/**
 * Throws a `RunError` if another process has replaced an input of the node while the node was made,
 * by one of other text or settings.
 */
async function refuseChanged(
  run: string,
  name: string,
  inputs: Record<string, string>,
): Promise<void> {
  // A folder is missing for a moment while one with the same key takes its place.
  const changed = await changedInput(run, inputs);
  if (changed === undefined) return;
  const fact =
    `Cannot make "${name}" as what it is made of must stay: "${changed}" has changed meanwhile`;
  throw new RunError(fact, {
    where: `${run}/${changed}`,
    remedy: "let the other process end, and run again",
  });
}

const waitText = (owner: Owner) =>
  `waits for "${owner.node}", which ${processText(owner)} makes` +
  (owner.task && ` for task "${owner.task}"`);

function missing(folder: string, { state, because }: NodeState): InputError {
  const where = state === "damaged" ? `${folder}/${because}` : folder;
  return new InputError(`Cannot go on as "${where}" must be there, as it was made: it is not`, {
    where,
  });
}

/** How far a stage has come. */
interface StageProgress {
  nodes: number;
  madeNodes: Set<string>;
  result: Record<string, unknown>;
  began?: number;
  from: Set<string>;
}

/** Turns what happens to nodes into events of their stages. */
class StageEvents {
  readonly #stages = new Map<string, StageProgress>();

  constructor(private readonly tell: (event: RunEvent) => void, nodes: readonly Node[]) {
    for (const { maker: { stage }, given } of nodes) {
      if (given) continue;
      const fresh = () => ({
        nodes: 0,
        madeNodes: new Set<string>(),
        result: {},
        from: new Set<string>(),
      });
      this.#stages.getOrInsertComputed(stage, fresh).nodes++;
    }
  }

  /** Notes that a stage begins here, if it has not. */
  begins(stage: string): void {
    const progress = this.#stages.get(stage)!;
    if (progress.began !== undefined) return;
    progress.began = performance.now();
    this.tell({ type: "stage", stage, state: "started" });
  }

  /** Notes that a node was linked from another run. */
  linked({ maker: { stage } }: Node, { made: { from } }: Manifest): void {
    this.#stages.get(stage)!.from.add(from!);
  }

  /** Notes that a node is there. Returns whether that is news. */
  isMade({ name, maker: { stage }, given }: Node, walk: Walk): boolean {
    const progress = this.#stages.get(stage);
    if (given || !progress || progress.madeNodes.has(name)) return false;
    progress.madeNodes.add(name);
    addResult(progress.result, walk.manifest(name).result);
    if (progress.madeNodes.size < progress.nodes) return true;
    const { began, from, result } = progress;
    const seconds = began === undefined ? {} : { seconds: (performance.now() - began) / 1000 };
    const copied = began === undefined && from.size > 0 ? { from: [...from] } : {};
    const state = began !== undefined ? "done" : from.size > 0 ? "copied" : "up to date";
    this.tell({ type: "stage", stage, state, ...copied, ...seconds, result });
    return true;
  }

  /** Passes on what a maker tells; of its progress, also how many nodes of the stage are done. */
  emit(stage: string, event: RunEvent): void {
    const progress = this.#stages.get(stage)!;
    const isOne = event.type !== "progress" || progress.nodes === 1;
    this.tell(isOne ? event : { ...event, node: progress.madeNodes.size, nodes: progress.nodes });
  }
}

/** Counts that add up over the nodes of a stage. */
const COUNTS =
  /^(documents|emptyDocuments|tokens|sequences|trainSequences|testSequences|droppedTails)$/;

/**
 * Adds the result of a node to that of its stage. Of everything but counts the last node's value
 * stays.
 */
function addResult(sum: Record<string, unknown>, result: Record<string, unknown>): void {
  for (const [name, value] of Object.entries(result)) {
    const soFar = sum[name];
    sum[name] = typeof soFar === "number" && COUNTS.test(name) ? soFar + Number(value) : value;
  }
}
