import { assert, assertEquals } from "@std/assert";
import { toTable } from "../../../pipeline/rows/arrow.ts";
import { openRows } from "../../../pipeline/rows/random_access.ts";
import { putLast } from "../../../pipeline/stages/token_rows.ts";
import { inFolder } from "../../tasks/support.ts";
import { mostRead, writeBatches } from "./alone.ts";

Deno.test("putLast() looks at the sequences of a part some at a time, and keeps their order", () =>
  inFolder(async (folder) => {
    const ids = BigUint64Array.from({ length: 10_000 }, (_, i) => BigInt(i) * 3n);
    const moved = ids.filter((id) => id % 7n === 0n);
    const [all, last] = [`${folder}/all.arrow`, `${folder}/last.arrow`];
    for (const [path, sequence] of [[all, ids], [last, moved]] as const) {
      await writeBatches(path, [toTable({ sequence }, { format: 1, stage: "split" })]);
    }
    const [rows, lastRows] = [await openRows([all]), await openRows([last])];
    let put = rows;
    const most = await mostRead(() => Promise.resolve(put = putLast(rows, lastRows)));
    assert(most <= 4096, `${most} rows at once`);
    using ordered = put;
    const { sequence } = ordered.read(ordered.numbers(), ["sequence"]);
    assertEquals([...sequence], [...ids.filter((id) => id % 7n !== 0n), ...moved]);
  }));
