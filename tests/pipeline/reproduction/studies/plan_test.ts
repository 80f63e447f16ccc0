import { assert, assertEquals } from "@std/assert";
import { planStudies } from "../../../../pipeline/reproduction/studies/plan.ts";
import { inFolder } from "../../../tasks/support.ts";
import { SMALL } from "./support.ts";

Deno.test("planStudies() counts every piece once, and no piece of the small preset takes longer than 45 minutes", () =>
  inFolder(async (root) => {
    const { pieces, seconds } = await planStudies({ run: root, studies: ["all"], sources: SMALL, seeds: 3 });
    const names = pieces.map(({ run, piece }) => `${run} ${piece}`);
    assertEquals(new Set(names).size, names.length);
    assertEquals(pieces.filter(({ done }) => done), []);
    for (const { seconds, run, piece } of pieces) assert(seconds <= 45 * 60, `${run}, ${piece}: ${seconds}`);
    assertEquals(Math.round(pieces.reduce((sum, piece) => sum + piece.seconds, 0)), Math.round(seconds));
    const twice = await planStudies({
      ...{ run: root, studies: ["all"], sources: SMALL, seeds: 3 },
      device: { flops: 125e9 },
    });
    assert(Math.abs(twice.seconds / seconds - 1 / 2) < 1e-9);
  }));
