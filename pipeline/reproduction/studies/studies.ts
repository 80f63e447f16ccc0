/**
 * The table of studies.
 *
 * @module
 */

import { assignment } from "./assignment.ts";
import { dense } from "./dense.ts";
import { experts } from "./experts.ts";
import { partitioners } from "./partitioners.ts";
import { prefix } from "./prefix.ts";
import { routers } from "./routers.ts";
import { routing } from "./routing.ts";
import { segments } from "./segments.ts";
import { short } from "./short.ts";
import type { Study } from "./study.ts";

/** Every study by its name, in the order in which a page tells of them. */
export const STUDIES: ReadonlyMap<string, Study> = new Map(
  [experts, dense, segments, routing, partitioners, prefix, short, routers, assignment].map((
    study,
  ) => [study.name, study]),
);
