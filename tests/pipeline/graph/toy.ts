/**
 * A pipeline of toys with the shape of the real one: blocks that are tokenized each by itself,
 * routers that learn in rounds from one another's scores, a part for each expert, and experts that
 * train with checkpoints.
 *
 *   deno run -A tests/pipeline/graph/toy.ts RUN PART PARTS [no-locks]
 */

import {
  makeAll,
  type Maker,
  type Making,
  type Node,
  Walk,
  type Work,
} from "../../../pipeline/graph/mod.ts";
import { sha256 } from "../../../pipeline/graph/files.ts";

const [BLOCKS, ROUTERS, ROUNDS, EXPERTS, ROWS, STEPS] = [10, 2, 4, 3, 40, 20];
const two = (n: number) => String(n).padStart(2, "0");
const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const read = async (path: string) => JSON.parse(await Deno.readTextFile(path));

let slow = false;
async function write(path: string, value: unknown): Promise<void> {
  // So that kills fall everywhere.
  if (slow) await new Promise((done) => setTimeout(done, Math.random() * 30));
  await Deno.writeTextFile(path, JSON.stringify(value));
}

/** The nodes that were made in this process. */
export const made: string[] = [];

function maker(stage: string, make: (making: Making) => Promise<unknown>, together = 1): Maker {
  return {
    stage,
    together,
    make: async (nodes) =>
      await Promise.all(nodes.map(async (making) => {
        made.push(making.node.name);
        return { made: 1, value: await make(making) };
      })),
  };
}

const tokenize = maker("tokenize", async ({ node, folder }) => {
  const b = Number(node.settings.block);
  await write(`${folder}/train.json`, range(ROWS).map((i) => (b * 7919 + i * 104729) % 1009));
  await write(`${folder}/test.json`, node.settings.test ?? b);
});

const tokens = range(BLOCKS).map((b) => `tokens/${two(b)}`);
const round = (r: number) => range(ROUTERS).map((g) => `rounds/${two(r)}/router-${two(g)}`);

const learn = maker("learn", async ({ node, folder, path }) => {
  const { r, g } = node.settings as { r: number; g: number };
  const before = r === 0
    ? [1, 2]
    : await Promise.all(round(r - 1).map((name) => read(`${path(name)}/state.json`)));
  let state = before[g];
  for (const name of tokens) {
    for (const row of await read(`${path(name)}/train.json`)) {
      state = (state * 31 + row + before[1 - g]) % 1_000_003;
    }
  }
  await write(`${folder}/state.json`, state);
}, ROUTERS);

const split = maker("split", async ({ node, folder, path }) => {
  const states = await Promise.all(round(ROUNDS).map((name) => read(`${path(name)}/state.json`)));
  const all = (await Promise.all(tokens.map((name) => read(`${path(name)}/train.json`)))).flat();
  const mine = all.filter((row) => (row + states[0] + states[1]) % EXPERTS === node.settings.e);
  await write(`${folder}/rows.json`, mine);
});

const train = maker("train", async ({ node, folder, path, scratch }) => {
  const rows: number[] = await read(`${path(`parts/${two(Number(node.settings.e))}`)}/rows.json`);
  let { step, weights } = await read(`${scratch}/checkpoint.json`).catch(() => ({
    step: 0,
    weights: node.settings.e,
  }));
  for (; step < STEPS; step++) {
    if (step % 5 === 0) {
      const aside = `${folder}/aside.json`;
      await write(aside, { step, weights });
      // Another process that has made the same has removed it.
      await Deno.mkdir(scratch, { recursive: true });
      await Deno.rename(aside, `${scratch}/checkpoint.json`);
    }
    weights = (weights * 131 + rows[(step * 7) % rows.length]) % 1_000_003;
  }
  await write(`${folder}/model.json`, weights);
  return weights;
}, 2);

const node = (
  maker: Maker,
  name: string,
  needs: readonly string[],
  settings: Record<string, unknown>,
): Node => ({ maker, name, needs, settings, revision: 1 });

/** Builds the graph; `change` may change a node. */
export function toyGraph(change: (node: Node) => Node = (node) => node): Node[] {
  const train_ = tokens.map((name) => `${name}:train`);
  return [
    ...tokens.map((name, block) => node(tokenize, name, [], { block })),
    ...range(ROUNDS + 1).flatMap((r) =>
      round(r).map((name, g): Node => ({
        ...node(learn, name, [...train_, ...r > 0 ? round(r - 1) : []], { r, g }),
        temporary: r < ROUNDS,
      }))
    ),
    ...range(EXPERTS).map((e) =>
      node(split, `parts/${two(e)}`, [...train_, ...round(ROUNDS)], { e })
    ),
    ...range(EXPERTS).map((e) =>
      node(train, `experts/${two(e)}`, [`parts/${two(e)}`], { e, steps: STEPS })
    ),
  ].map(change);
}

/** Makes what a maker gets to work with; events go to `events`. */
export function toyWork(run: string, events: unknown[] = []): Work {
  const gpu = () => Promise.reject(new Error("no toy asks for a device"));
  return { run, gpu, workers: 1, emit: (event) => void events.push(event) };
}

/** Hashes what stands in the manifests of all nodes about bytes. */
export async function toyHash(run: string): Promise<string> {
  const files = await Promise.all(
    toyGraph().map(async ({ name }) => (await read(`${run}/${name}/manifest.json`)).files),
  );
  return sha256(JSON.stringify(files));
}

if (import.meta.main) {
  const [run, part, parts, locks] = Deno.args;
  slow = true;
  await makeAll(toyWork(run), new Walk(run, toyGraph()), {
    task: "toy",
    mine: ({ name }) => Number(/(\d+)$/.exec(name)![1]) % Number(parts) === Number(part) - 1,
    ...locks === "no-locks" && { lock: () => Promise.resolve({ release: () => {} }) },
  });
}
