/**
 * Checks the proof of an assignment: the costs of the sequences, the experts that they got and the prices are read again from the
 * files and summed by the definition of the proof. The class that sums is the one that the solver uses for its proof; it knows nothing
 * of how experts and prices were found. What the greedy rule would cost is not found again: it is taken as it is said.
 *
 * @module
 */

import * as v from "valibot";
import { InputError } from "../../kernels/errors.ts";
import { gapPerRow, gapShare } from "../partition/assignment/assignment.ts";
import { Certificate } from "../partition/assignment/certificate.ts";
import { readPrices } from "../partition/assignment/prices.ts";
import { fromBatch, readShards } from "../rows/arrow.ts";
import { exists, oneLine } from "../run/files.ts";
import { manifestPath, outputsUnder, readManifest } from "../run/manifest.ts";
import { conform, count, finite } from "../run/schema.ts";
import type { Verification } from "./stage.ts";

const ROUNDING = 1e-9; // of the cost

const PROOF = v.object({
  cost: finite,
  bound: finite,
  rows: count,
  loads: v.array(count),
  unbalanced: finite,
  greedy: v.optional(finite),
  gapPerSequence: finite,
  gapShare: finite,
  greedyGapShare: v.optional(finite),
});

/** Reads what a manifest says is proven of so many experts. Throws an `InputError` where it lacks something. */
function proofOf(said: unknown, experts: number, where: string): v.InferOutput<typeof PROOF> {
  try {
    const proof = conform(PROOF, said);
    if (proof.loads.length === experts) return proof;
    throw new InputError(
      `loads: it must hold one of each of ${experts} experts: it holds ${proof.loads.length}`,
    );
  } catch (cause) {
    const what = `Cannot check "${where}" as its proof must be whole: ${oneLine(cause)}`;
    throw new InputError(what, { where, cause });
  }
}

/** Checks what the manifest of the stage `assign` says is proven. `file` is that of the prices, by its path in the run folder. */
export async function verifyProof({ run, attempt, problem }: Verification, file: string): Promise<void> {
  await attempt(file, async () => {
    const manifest = await readManifest(run, "assign");
    if (!manifest?.result.proof || !await exists(`${run}/${file}`)) return;
    const { prices, experts } = await readPrices(`${run}/${file}`);
    const name = "manifests/assign.json";
    const said = await attempt(
      name,
      () => Promise.try(proofOf, manifest.result.proof, experts, manifestPath(run, "assign")),
    );
    if (!said) return;
    const certificate = new Certificate(prices);
    const shards = outputsUnder(manifest, "assignments/train-").map((path) => `${run}/${path}`);
    for await (const batch of readShards(shards)) {
      const { rows, nll, expert } = fromBatch(batch, undefined, ["nll", "expert"]);
      if (rows > 0) certificate.add({ costs: nll!, experts }, expert!);
    }
    const { cost, loads, bound, rows, unbalanced } = certificate.proof;
    const check = (figure: string, found: number | undefined, said: number | undefined, slack = 0) => {
      if (found === said || Math.abs(found! - said!) <= slack) return;
      const what = `the ${figure} of its proof must be ${found}, as its rows and prices say: it says ${said}`;
      problem(name, what);
    };
    const slack = ROUNDING * Math.abs(cost);
    check("cost", cost, said.cost, slack);
    check("bound", bound, said.bound, slack);
    check("number of rows", rows, said.rows);
    check("cost without balance", unbalanced, said.unbalanced, slack);
    loads.forEach((load, e) => check(`load of expert ${e}`, load, said.loads[e]));
    // These follow from the figures above, to the bit.
    check("gap per sequence", gapPerRow(said), said.gapPerSequence);
    check("share of the gap", gapShare(said), said.gapShare);
    const greedy = said.greedy === undefined ? undefined : gapShare(said, said.greedy);
    check("share of the greedy rule's gap", greedy, said.greedyGapShare);
  });
}
