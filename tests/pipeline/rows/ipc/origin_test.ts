import { assert, assertEquals } from "@std/assert";
import { toBatch } from "../../../../pipeline/rows/arrow.ts";
import { originOf, withOrigin } from "../../../../pipeline/rows/ipc/origin.ts";
import { columnsOf, LINEAGE } from "../support.ts";

Deno.test("originOf() says where a batch was read, and that one was made here", () => {
  const [read, made] = [1, 1].map((rows) => toBatch(columnsOf(rows), LINEAGE));
  assert(withOrigin(read, "a.arrow, batch 3") === read);
  assertEquals([originOf(read), originOf(made)], ["a.arrow, batch 3", "the batch"]);
});
