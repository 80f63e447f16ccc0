import { assertEquals, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import { writePrices } from "../../../pipeline/partition/assignment/prices.ts";
import { toBatch } from "../../../pipeline/rows/arrow.ts";
import { writeArrowFile } from "../../../pipeline/rows/ipc/write.ts";
import { writeManifest } from "../../../pipeline/run/manifest.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { verifyProof } from "../../../pipeline/stages/verify_assign.ts";
import { inFolder } from "../../tasks/support.ts";

const FILE = "assignments/prices.json";

/** Writes four assigned rows of two experts, prices and what a manifest says of them; gives the problems that are found. */
async function problemsOf(run: string, proof: unknown, prices?: number[]): Promise<string[]> {
  await Deno.mkdir(`${run}/assignments`, { recursive: true });
  const path = "assignments/train-00000.arrow";
  const columns = {
    rows: 4,
    sequence: BigUint64Array.of(0n, 1n, 2n, 3n),
    length: Uint32Array.of(8, 8, 8, 8),
    nll: Float32Array.of(1, 4, 2, 7, 3, 5, 1, 9),
    expert: Uint16Array.of(1, 0, 1, 0),
  };
  const lineage = { format: 1, stage: "assign", experts: 2 };
  const { rows: _, ...record } = await writeArrowFile(
    `${run}/${path}`,
    ReadableStream.from([toBatch(columns, lineage)]),
  );
  if (prices) await writePrices(`${run}/${FILE}`, { method: "optimal", experts: 2, rows: 4, prices });
  const identity = { stage: "assign", revision: 2, key: "", configuration: {}, inputs: {} };
  await writeManifest(run, identity, { outputs: { [path]: record }, result: { proof }, read: {} });
  const problems: string[] = [];
  await verifyProof({
    run,
    configuration: defaultConfiguration(),
    files: new Map(),
    ran: () => true,
    isWrong: () => false,
    problem: (file, what) => problems.push(`${file}: ${wordText(what)}`),
    attempt: async (file, check) => {
      try {
        return await check();
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        problems.push(`${file}: ${error.what}`);
      }
    },
    progress: () => {},
    found: () => {},
  }, FILE);
  return problems;
}

Deno.test("verifyProof() finds what rows and prices do not bear out, and nothing where nothing is proven", () =>
  inFolder(async (run) => {
    // Both pairs cost 4 + 2 + 5 + 1 = 12. At prices 3 and 0 the least sums are 4, 5, 5 and 4, less 6 for the rooms: 12.
    // With no balance: 1 + 2 + 3 + 1 = 7. Balancing costs 5, and a greedy rule that costs 14 misses by 2 / 5 of it.
    const gaps = { gapPerSequence: 0, gapShare: 0, greedyGapShare: 0.4 };
    const proof = { cost: 12, bound: 12, rows: 4, loads: [2, 2], unbalanced: 7, greedy: 14, ...gaps };
    assertEquals(await problemsOf(`${run}/none`, undefined), []);
    assertEquals(await problemsOf(`${run}/old`, proof), []);
    assertEquals(await problemsOf(run, proof, [3, 0]), []);
    const must = (name: string, found: number, said: number) =>
      `manifests/assign.json: the ${name} of its proof must be ${found}, as its rows and prices say: it says ${said}`;
    const off = { ...proof, bound: 11, gapPerSequence: 0.25, gapShare: 0.2, greedyGapShare: 0.6 };
    assertEquals(await problemsOf(run, off, [2, 0]), []); // a poorer bound, with the gaps that follow from it
    assertEquals(
      await problemsOf(run, { ...off, cost: 11, gapPerSequence: 0, gapShare: 0, greedyGapShare: 0.75 }, [
        2,
        0,
      ]),
      [
        must("cost", 12, 11),
      ],
    );
    assertEquals(await problemsOf(run, proof, [2, 0]), [must("bound", 11, 12)]);
    assertEquals(await problemsOf(run, { ...proof, rows: 5 }, [3, 0]), [must("number of rows", 4, 5)]);
    assertEquals(await problemsOf(run, { ...proof, unbalanced: 6, greedyGapShare: 2 / 6 }, [3, 0]), [
      must("cost without balance", 7, 6),
    ]);
    for (
      const [field, figure, found] of [
        ["gapPerSequence", "gap per sequence", 0],
        ["gapShare", "share of the gap", 0],
        ["greedyGapShare", "share of the greedy rule's gap", 0.4],
      ] as const
    ) {
      assertEquals(await problemsOf(run, { ...proof, [field]: 0.125 }, [3, 0]), [must(figure, found, 0.125)]);
    }
    const { loads: _, ...torn } = proof;
    for (
      const [said, why] of [[torn, "loads: "], [
        { ...proof, loads: [4] },
        "loads: it must hold one of each of 2",
      ]] as const
    ) {
      const [problem, ...others] = await problemsOf(run, said, [3, 0]);
      assertStringIncludes(
        problem,
        `manifests/assign.json: Cannot check "${run}/manifests/assign.json" as its proof must be whole: ${why}`,
      );
      assertEquals(others, []);
    }
    assertEquals(await problemsOf(run, { ...proof, loads: [3, 1] }, [3, 0]), [
      must("load of expert 0", 2, 3),
      must("load of expert 1", 2, 1),
    ]);
  }));
