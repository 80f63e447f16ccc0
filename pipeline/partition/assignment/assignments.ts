/** The table of all ways to assign. */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { argmax, type Assignment } from "./assignment.ts";
import { balanced } from "./balanced.ts";
import { optimal } from "./optimal.ts";

/** Every way to assign, by its name. A script may add its own. */
export const ASSIGNMENTS: Map<string, Assignment> = new Map(
  [balanced, optimal, argmax].map((assignment) => [assignment.method, assignment]),
);

/**
 * Finds a way to assign by its name. Throws an `InputError` that lists all names where there is
 * none of this name.
 */
export function findAssignment(method: string): Assignment {
  const assignment = ASSIGNMENTS.get(method);
  if (assignment) return assignment;
  const all = [...ASSIGNMENTS.keys()].join(", ");
  throw new InputError(
    say`Cannot assign as ${setting("method")} must be one of ${all}: it is "${method}"`,
  );
}
