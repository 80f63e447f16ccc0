/**
 * Says beside the tables of a comparison what their numbers do not: which runs stand apart, and why.
 *
 * @module
 */

import type { HeldOut } from "./held_out.ts";

/** Says which runs do not tell what they hold out, as "; b and c tell of none"; empty where all tell. */
export function untoldText({ untold }: HeldOut): string {
  return untold.length === 0 ? "" : `; ${listed(untold)} ${untold.length === 1 ? "tells" : "tell"} of none`;
}

/** Lists names in a sentence. */
function listed(names: readonly string[]): string {
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}
