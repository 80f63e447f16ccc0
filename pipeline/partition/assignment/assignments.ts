/** The ways to assign that there are. */

import { argmax } from "./argmax.ts";
import type { Assignment } from "./assignment.ts";
import { balanced } from "./balanced.ts";

/** Every way to assign, by its name. A script may add its own. */
export const ASSIGNMENTS: Map<string, Assignment> = new Map(
  [balanced, argmax].map((assignment) => [assignment.method, assignment]),
);
