/**
 * Finds out which nodes of a run are made, and why the others are not. What makes a run, what plans
 * it and what verifies it ask here, so they cannot disagree.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { canonical, MANIFEST } from "./schema.ts";
import {
  findDamage,
  hashFiles,
  type Manifest,
  type Node,
  nodeKey,
  readManifest,
  splitNeed,
} from "./node.ts";

/** A node, its state, and why it is in that state. */
export interface NodeState {
  /** The node. */
  node: Node;
  /**
   * `made`: it is there, of what it needs now. `spent`: the same, but it is temporary and files of
   * it are gone. `missing`: nobody has made it. `changed`: it was made of something else.
   * `damaged`: a file is missing or not as it was written. `waits`: something that it needs must be
   * made first, and only then it is known whether it changes.
   */
  state: "made" | "spent" | "missing" | "changed" | "damaged" | "waits";
  /**
   * Why. `changed`: `revision`, `version`, a setting, or a node that it needs. `damaged`: the file.
   * `waits`: the node that must be made first.
   */
  because?: string;
  /** Its key, where everything that it needs is made. */
  key?: string;
  /** Hashes of the files that it needs, by need, where these are made. */
  inputs?: Record<string, string>;
  /** Its manifest, where there is one. */
  manifest: Manifest | null;
}

/** Looks at the nodes of a run, each when it is first asked for. */
export class Walk {
  readonly #resolved = new Map<string, NodeState>(); // made or spent
  readonly #pending = new Map<string, NodeState>(); // as they were when somebody last asked
  readonly #nodes: ReadonlyMap<string, Node>;
  readonly #renewed: Set<string>;
  readonly #revived = new Set<string>();
  readonly #isChecked: (node: Node) => boolean;

  /**
   * Looks at a graph in the folder `run`. With `check` files are hashed, of all nodes or of those
   * that it chooses; otherwise their sizes are compared. Nodes named in `renewed` count as missing
   * until this process has made them.
   */
  constructor(
    readonly run: string,
    readonly graph: readonly Node[],
    { check = false, renewed }: {
      check?: boolean | ((node: Node) => boolean);
      renewed?: Iterable<string>;
    } = {},
  ) {
    this.#isChecked = typeof check === "boolean" ? () => check : check;
    this.#nodes = new Map(graph.map((node) => [node.name, node]));
    this.#renewed = new Set(renewed);
  }

  /** Gives the folder of a node. */
  path(name: string): string {
    return `${this.run}/${name}`;
  }

  /** Gives the node of this name. Throws a `RangeError` where the graph has none. */
  node(name: string): Node {
    const node = this.#nodes.get(name);
    if (!node) {
      throw new RangeError(`Cannot look at "${name}" as it must be a node of the run: it is none`);
    }
    return node;
  }

  /**
   * Finds the state of a node. A node that is made stays made; every other state is as old as the
   * last {@link refresh}.
   */
  async of(node: Node): Promise<NodeState> {
    const resolved = this.#resolved.get(node.name) ?? this.#pending.get(node.name);
    if (resolved) return resolved;
    const described = await this.#find(node);
    const isThere = described.state === "made" || described.state === "spent";
    (isThere ? this.#resolved : this.#pending).set(node.name, described);
    return described;
  }

  /** Gives the manifest of a node that is made. */
  manifest(name: string): Manifest {
    return this.#resolved.get(name)!.manifest!;
  }

  /** Notes that this process has made a node, or linked it. */
  made(node: Node, manifest: Manifest, state: "made" | "spent" = "made"): void {
    this.#renewed.delete(node.name);
    this.#revived.delete(node.name);
    this.#resolved.set(node.name, { node, state, key: manifest.key, manifest });
    this.refresh();
  }

  /** Whether a node is to be made again although it is there. */
  isAgain(name: string): boolean {
    return this.#renewed.has(name);
  }

  /** Whether the files of a node that was spent are needed. */
  isRevived(name: string): boolean {
    return this.#revived.has(name);
  }

  /**
   * Reports that the files of a spent node are needed: it is made again, unless another process has
   * done so.
   */
  revive(name: string): void {
    this.#revived.add(name);
    this.#resolved.delete(name);
  }

  /**
   * Asks the disk again for everything that is not made: other processes may have made some of it.
   */
  refresh(): void {
    this.#pending.clear();
  }

  async #find(node: Node): Promise<NodeState> {
    const inputs: Record<string, string> = {};
    let waitsFor: string | undefined;
    // The nodes that it needs are read before its manifest: another process may make it meanwhile
    // and then remove the files of a temporary node that it needs.
    for (const need of node.given ? [] : node.needs) {
      const { name, start } = splitNeed(need);
      const { state, manifest } = await this.of(this.node(name));
      if (state !== "made" && state !== "spent") {
        waitsFor = name;
        break;
      }
      inputs[need] = hashFiles(manifest!, start);
    }
    let manifest: Manifest | null;
    let broken = false;
    try {
      manifest = await readManifest(this.path(node.name));
    } catch (error) {
      // A manifest that the disk cannot read is an error. So is a damaged one, unless this node is
      // to be checked: then its state says so.
      if (!this.#isChecked(node) || !(error instanceof InputError)) throw error;
      [manifest, broken] = [null, true];
    }
    const stateOf = (state: NodeState["state"], because?: string, identity = {}): NodeState => ({
      node,
      state,
      manifest,
      ...identity,
      ...because === undefined ? {} : { because },
    });
    if (node.given) {
      if (!manifest) return broken ? stateOf("damaged", MANIFEST) : stateOf("missing");
      const file = await findDamage(this.path(node.name), manifest, this.#isChecked(node));
      return file === undefined
        ? stateOf("made", undefined, { key: manifest.key })
        : stateOf("damaged", file);
    }
    if (waitsFor !== undefined) return stateOf("waits", waitsFor);
    const key = nodeKey(node, inputs);
    const identity = { key, inputs };
    if (!manifest) {
      return broken
        ? stateOf("damaged", MANIFEST, identity)
        : stateOf("missing", undefined, identity);
    }
    if (manifest.key !== key) {
      return stateOf("changed", difference(node, inputs, manifest), identity);
    }
    if (this.#renewed.has(node.name)) return stateOf("missing", undefined, identity);
    const file = await findDamage(this.path(node.name), manifest, this.#isChecked(node));
    if (file === undefined) return stateOf("made", undefined, identity);
    if (!node.temporary) return stateOf("damaged", file, identity);
    return stateOf(this.#revived.has(node.name) ? "missing" : "spent", undefined, identity);
  }
}

/**
 * Names an input that has changed since a manifest with these `inputs` was written; undefined where
 * none has. An input that is missing counts as unchanged.
 */
export async function changedInput(
  run: string,
  inputs: Readonly<Record<string, string>>,
): Promise<string | undefined> {
  for (const [need, then] of Object.entries(inputs)) {
    const { name, start } = splitNeed(need);
    const current = await readManifest(`${run}/${name}`);
    if (current && hashFiles(current, start) !== then) return name;
  }
}

/** Names the first difference between a node and its manifest. */
function difference(node: Node, inputs: Record<string, string>, manifest: Manifest): string {
  if (node.revision !== manifest.revision) return "revision";
  if (manifest.key === "") return "version"; // it was given up, to be made again
  const setting = otherSetting(node, manifest);
  if (setting !== undefined) return setting;
  const need = Object.keys({ ...inputs, ...manifest.inputs }).find((need) =>
    inputs[need] !== manifest.inputs[need]
  );
  return need === undefined ? "name" : splitNeed(need).name;
}

/**
 * Names a setting whose value differs between a node and its manifest; undefined where all are
 * equal.
 */
export function otherSetting(
  { settings }: Pick<Node, "settings">,
  { settings: then }: Pick<Manifest, "settings">,
): string | undefined {
  return Object.keys({ ...settings, ...then })
    .find((name) => canonical(settings[name] ?? null) !== canonical(then[name] ?? null));
}
