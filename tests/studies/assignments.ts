/**
 * Tells whether routers of different widths, and of different seeds, find the same parts: for each
 * pair of runs over the same text the normalised mutual information of their assignments, and the
 * share of the training sequences that go to the same expert under the best match of experts. Also
 * what two random partitions would share. What is made is not made again.
 *
 *   deno run -A tests/studies/assignments.ts FOLDER CONFIG [WIDTHS [SEEDS]]      8,16,32,64 with seed 0; seeds 0,1,2 with the width of CONFIG
 */

import { partition } from "../../mod.ts";
import { readShards } from "../../pipeline/rows/arrow.ts";
import { normalizedMutualInformation } from "../../pipeline/partition/metrics.ts";
import { uniform } from "../../pipeline/random.ts";
import type { Configuration } from "../../pipeline/settings/configuration.ts";
import { listEntries } from "../../pipeline/graph/files.ts";

const [folder, config, widths = "8,16,32,64", seeds = "0,1,2"] = Deno.args;
const settings: Partial<Configuration> = JSON.parse(await Deno.readTextFile(config));
const { experts = 4, routerHidden } = settings;
const list = (text: string) => text.split(",").map(Number);

/** A partition: what it is called, how it tells the source, and the expert of each sequence. */
interface Made {
  label: string;
  nmi: number | null;
  assigned: number[];
}

/** Makes a partition with some router width and seed. */
async function make(width: number, seed: number): Promise<Made> {
  const run = `${folder}/width-${width}-seed-${seed}`;
  const flags = { ...settings, routerHidden: width, seed };
  const { nmi } = await partition({ run, sources: { preset: "tiny", flags } });
  const place = `${run}/assignments/all`;
  const [name] = (await listEntries(place)).flatMap(({ name }) =>
    name.endsWith("train.arrow") ? [name] : []
  );
  const assigned: number[] = [];
  for await (const batch of readShards([`${place}/${name}`])) {
    assigned.push(...batch.getChild("expert")!);
  }
  return { label: `width ${width}, seed ${seed}`, nmi, assigned };
}

/** Lists all orders of some things. */
const orders = (things: number[]): number[][] =>
  things.length < 2
    ? [things]
    : things.flatMap((thing) =>
      orders(things.filter((other) => other !== thing)).map((rest) => [thing, ...rest])
    );

/** Gives the largest share of sequences that two partitions send to the same expert, renamed. */
function bestMatch(first: number[], second: number[]): number {
  const counts = Array.from({ length: experts }, () => new Array<number>(experts).fill(0));
  first.forEach((expert, row) => counts[expert][second[row]]++);
  const shared = orders([...Array(experts).keys()]).map((order) =>
    order.reduce((sum, other, expert) => sum + counts[expert][other], 0)
  );
  return Math.max(...shared) / first.length;
}

const made: Made[] = [];
const pairs = new Set([
  ...list(widths).map((width) => `${width} ${list(seeds)[0]}`),
  ...list(seeds).map((seed) => `${routerHidden} ${seed}`),
]);
for (const pair of pairs) {
  const [width, seed] = pair.split(" ").map(Number);
  made.push(await make(width, seed));
}
const rows = made[0].assigned.length;
const random = (purpose: string) =>
  Array.from({ length: rows }, (_, row) => Math.floor(experts * uniform(0, purpose, row)));
made.push({ label: "random", nmi: null, assigned: random("a random partition") });
for (const [at, first] of made.entries()) {
  for (const second of made.slice(at + 1)) {
    console.log(JSON.stringify({
      first: first.label,
      second: second.label,
      sources: [first.nmi, second.nmi],
      nmi: normalizedMutualInformation(first.assigned, second.assigned),
      match: bestMatch(first.assigned, second.assigned),
    }));
  }
}
