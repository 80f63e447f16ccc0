/**
 * The table of studies.
 *
 * @module
 */

import { assignment } from "./studies/assignment.ts";
import { dense } from "./studies/dense.ts";
import { experts } from "./studies/experts.ts";
import { partitioners } from "./studies/partitioners.ts";
import { prefix, short } from "./studies/prefix.ts";
import { routers } from "./studies/routers.ts";
import { routing } from "./studies/routing.ts";
import { segments } from "./studies/segments.ts";
import type { Study } from "./study.ts";

/** Every study by its name, in the order in which a page tells of them. */
export const STUDIES: ReadonlyMap<string, Study> = new Map(
  [experts, dense, segments, routing, partitioners, prefix, short, routers, assignment]
    .map((study) => [study.name, study]),
);

/** The names of all studies, in that order. */
export const STUDY_NAMES: readonly string[] = [...STUDIES.keys()];
