/**
 * The runs that were made from a run, as it notes their places: runs that derive from it, and those
 * that took an expert, routers or prices. A run that was moved, copied or made from a copy is not
 * known.
 *
 *     metrics/descendants.jsonl   a line for each
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { findRun, readRunConfiguration } from "../graph/configuration.ts";
import { exists } from "../graph/files.ts";
import { readDerivation } from "../stages/derivation.ts";
import { adoptedExperts } from "../training/adoption.ts";

/** What a run took of another one. */
const TAKEN = {
  derived: "derives from it",
  tuned: "is tuned from it",
  expert: "took an expert of it",
  routers: "took its routers or prices",
} as const;

const LINE = v.object({
  run: v.string(),
  took: v.picklist(Object.keys(TAKEN) as (keyof typeof TAKEN)[]),
});

type Noted = v.InferOutput<typeof LINE>;

/** A run that was made from another one. */
export interface Descendant {
  /** Its folder. */
  run: string;
  /** What it took of the other one. */
  took: "derived" | "tuned" | "expert" | "routers";
  /** The other one. */
  from: string;
  /** Whether a run is still there. */
  isThere: boolean;
  /**
   * Whether that run still says that it took something. It may not where it was made anew, was
   * damaged, or names a path by which the other one can no longer be found.
   */
  saysSo: boolean;
}

const placeOf = (run: string) => `${run}/metrics/descendants.jsonl`;

/** Reads what a run notes. Lines that another version wrote, or that were cut, are left out. */
async function readNoted(run: string): Promise<Noted[]> {
  const text = await Deno.readTextFile(placeOf(run)).catch(() => "");
  return text.split("\n").flatMap((line) => {
    try {
      return [v.parse(LINE, JSON.parse(line))];
    } catch {
      return [];
    }
  });
}

/**
 * Notes in the run that a path lies in, or is, that another run is made from it. Nothing is noted
 * where that run may not be written to.
 */
export async function noteDescendant(
  path: string,
  run: string,
  took: Noted["took"],
): Promise<void> {
  const from = await findRun(path).catch(() => null);
  const place = resolve(run);
  if (from === null || resolve(from) === place) return;
  const noted = await readNoted(from);
  if (noted.some((line) => line.run === place && line.took === took)) return;
  const line = JSON.stringify({ run: place, took }) + "\n";
  try {
    await Deno.mkdir(dirname(placeOf(from)), { recursive: true });
    await Deno.writeTextFile(placeOf(from), line, { append: true });
  } catch (error) {
    const isAllowed = !(error instanceof Deno.errors.PermissionDenied) &&
      (error as { code?: string }).code !== "EROFS";
    if (isAllowed) throw error;
  }
}

/** Lists the runs that were made from one, and from these. */
export async function listDescendants(
  run: string,
  seen: Set<string> = new Set([resolve(run)]),
): Promise<Descendant[]> {
  const descendants: Descendant[] = [];
  for (const noted of await readNoted(run)) {
    const isThere = await exists(`${noted.run}/config.json`);
    descendants.push({ ...noted, from: run, isThere, saysSo: await saysFrom(noted, run) });
    if (!isThere || seen.has(noted.run)) continue;
    seen.add(noted.run);
    descendants.push(...await listDescendants(noted.run, seen));
  }
  return descendants;
}

/**
 * Tells whether a run still says that it was made from another. A run that cannot be read says
 * nothing.
 */
async function saysFrom({ run, took }: Noted, from: string): Promise<boolean> {
  const above = await realPlace(from);
  const isIn = async (path: string) => `${await realPlace(path)}/`.startsWith(`${above}/`);
  const settings = await readRunConfiguration(run, { edited: true }).catch(() => null);
  if (!settings) return false;
  const { routers, prices } = settings.configuration;
  if (took === "routers") {
    const named = [routers, prices].filter((path) => path !== "");
    return (await Promise.all(named.map(isIn))).includes(true);
  }
  if (took === "expert") {
    const adopted = await adoptedExperts(run).catch(() => []);
    return (await Promise.all(adopted.map(({ from }) => isIn(from)))).includes(true);
  }
  const derivation = await readDerivation(run).catch(() => null);
  return derivation !== null && await realPlace(derivation.from) === above;
}

/** Gives a path without links; as it is where nothing is there. */
const realPlace = (path: string): Promise<string> => Deno.realPath(path).catch(() => resolve(path));

/** Writes in one line what a run took. */
export function describeDescendant({ run, from, took, isThere, saysSo }: Descendant): string {
  if (!isThere) return `${run}, which is gone`;
  const deed = TAKEN[took].replace("it", from);
  return saysSo ? `${run}, which ${deed}` : `${run}, of which it was noted that it ${deed}`;
}
