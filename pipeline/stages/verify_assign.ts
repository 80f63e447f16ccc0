/**
 * Checks the proof of an assignment: the costs of the sequences, the experts that they got and the prices are read again and
 * summed by the definition of the proof, without anything that found them.
 *
 * @module
 */

import { Certificate } from "../partition/assignment/certificate.ts";
import type { Proof } from "../partition/assignment/assignment.ts";
import { readPrices } from "../partition/assignment/prices.ts";
import { fromBatch, readShards } from "../rows/arrow.ts";
import { exists } from "../run/files.ts";
import { outputsUnder, readManifest } from "../run/manifest.ts";
import type { Verification } from "./stage.ts";

const ROUNDING = 1e-9; // of the cost

/** Checks what the manifest of the stage `assign` says is proven. `file` is that of the prices, by its path in the run folder. */
export async function verifyProof({ run, attempt, problem }: Verification, file: string): Promise<void> {
  await attempt(file, async () => {
    const manifest = await readManifest(run, "assign");
    const said = manifest?.result.proof as Proof | undefined;
    if (!manifest || !said || !await exists(`${run}/${file}`)) return;
    const { prices, experts } = await readPrices(`${run}/${file}`);
    const certificate = new Certificate(prices);
    const shards = outputsUnder(manifest, "assignments/train-").map((path) => `${run}/${path}`);
    for await (const batch of readShards(shards)) {
      const { rows, nll, expert } = fromBatch(batch, undefined, ["nll", "expert"]);
      if (rows > 0) certificate.add({ costs: nll!, experts }, expert!);
    }
    const { cost, loads } = certificate;
    const check = (name: string, found: number, said: number, slack = 0) => {
      if (Math.abs(found - said) <= slack) return;
      const what = `the ${name} of its proof must be ${found}, as its rows and prices say: it says ${said}`;
      problem("manifests/assign.json", what);
    };
    check("cost", cost, said.cost, ROUNDING * Math.abs(cost));
    check("bound", certificate.bound(loads), said.bound, ROUNDING * Math.abs(cost));
    loads.forEach((load, e) => check(`load of expert ${e}`, load, said.loads[e]));
  });
}
