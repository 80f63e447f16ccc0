import { assert, assertEquals } from "@std/assert";
import {
  attentionBackwardKeyWorkgroup,
  attentionBackwardQueryWorkgroup,
  attentionForwardWorkgroup,
  keepsQuery,
  rowsOfBlock,
} from "../../../kernels/attention/attention_workgroup.ts";

const withRoom = (bytes: number) => ({
  capabilities: { features: [], limits: { maxComputeWorkgroupStorageSize: bytes } },
});

Deno.test("keepsQuery() keeps q where workgroup memory has room for all parts of it", () => {
  const keeps = (kib: number, head4: number, rows: number) =>
    keepsQuery(withRoom(kib * 1024), { head4, rows });
  assertEquals([8, 9, 16].map((head4) => keeps(16, head4, 32)), [true, false, false]);
  assertEquals([8, 16, 32].map((head4) => keeps(32, head4, 32)), [true, true, true]);
  assertEquals([8, 16, 32].map((head4) => keeps(48, head4, 64)), [true, true, false]);
  assertEquals(keeps(16, 1, 64), false);
});

Deno.test("rowsOfBlock() takes 64 rows where there are as many, and their sums leave room in registers", () => {
  const rows = (head4: number, length: number) =>
    (["forward", "query", "key"] as const).map((pass) => rowsOfBlock(pass, { head4, length }));
  assertEquals(rows(8, 256), [64, 64, 64]);
  assertEquals(rows(16, 1024), [64, 64, 32]);
  assertEquals(rows(32, 1024), [32, 32, 32]);
  assertEquals(rows(8, 32), [32, 32, 32]);
});

for (const rows of [32, 64]) {
  Deno.test(`what an invocation does of ${rows} rows of attention is unrolled: no index of what is private is a name`, () => {
    for (const head4 of [1, 9, 16]) {
      const texts = [
        attentionForwardWorkgroup({ head4, rows, keep: true }),
        attentionForwardWorkgroup({ head4, rows, keep: false }),
        attentionBackwardQueryWorkgroup({ head4, rows, merged: true }),
        attentionBackwardKeyWorkgroup({ head4, rows, merged: false }),
      ];
      for (const text of texts) {
        const own = [...text.matchAll(/\b(rows|scores|gains|values|(?:key_|value_)?sums\d+)\[([^\]]+)\]/g)];
        assert(own.length > 8 * rows / 8, `${own.length}`);
        assertEquals(own.filter(([, , index]) => !/^\d+$/.test(index)), []);
        assertEquals(text.match(/add_terms\(rows/g)!.length % (8 * rows / 8), 0);
      }
    }
  });
}
