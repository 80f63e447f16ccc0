import { assert, assertEquals } from "@std/assert";
import {
  invocationsOf,
  matmulTransposedWorkgroup,
  matmulWorkgroup,
  SEGMENT,
  TILES,
} from "../../../kernels/matmul/matmul_workgroup.ts";

/** An index that is a constant, or a name that nothing in the loop over terms changes. */
const INVARIANT = /^(\d+|(row|column|[ab]_(row|term|column))\d( \/ 4u)?)$/;

for (const tile of TILES) {
  const name = `${tile.rows} × ${tile.columns}`;
  const texts = {
    matmul: matmulWorkgroup({ tile, holds: "f32" }),
    matmulTransposed: matmulTransposedWorkgroup(tile),
  };
  for (const [op, text] of Object.entries(texts)) {
    Deno.test(`the loop of ${op} with tiles of ${name} has constant or invariant indices, and no private array`, () => {
      const main = text.slice(text.indexOf("fn main("));
      const loop = main.slice(main.indexOf("for (var k = "), main.indexOf("switch i"));
      const indices = [...loop.matchAll(/_tile((?:\[[^\]]+\])+)/g)]
        .flatMap(([, all]) => [...all.matchAll(/\[([^\]]+)\]/g)].map(([, index]) => index));
      assert(indices.length > 100);
      assertEquals(indices.filter((index) => !INVARIANT.test(index)), []);
      assertEquals(loop.match(/array</g), null);
    });

    Deno.test(`${op} with tiles of ${name} multiplies every term of two slices by every element of an invocation`, () => {
      const { ownRows, ownVec4s, terms } = tile;
      assertEquals(text.match(/ = fma\(/g)!.length, 2 * terms * ownRows * ownVec4s);
      const lanes = invocationsOf(tile);
      const [ofA, ofB] = [tile.rows, tile.columns].map((side) => side * terms / 4 / lanes);
      assert(Number.isInteger(ofA) && Number.isInteger(ofB), "each invocation fetches alike");
      assertEquals(SEGMENT % (2 * terms), 0);
      assert(op === "matmul" || text.includes(`const SEGMENT: u32 = ${SEGMENT}u;`));
    });
  }
}
