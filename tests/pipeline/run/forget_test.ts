import { assertEquals } from "@std/assert";
import { toTable } from "../../../pipeline/rows/arrow.ts";
import { PART_COLUMNS } from "../../../pipeline/stages/documents.ts";
import { documentColumns } from "../../../pipeline/stages/token_rows.ts";
import { inFolder, ROOT } from "../../tasks/support.ts";
import { byteTokenizer } from "../serving/support.ts";
import { writeBatches } from "../stages/alone.ts";

const [BATCHES, ROWS] = [25, 4000]; // documents of the index: more than the child has memory for

/** Finds what is forgotten of a run, in a process with little memory. */
const CHILD = `
  import { findForgotten } from ${JSON.stringify(`file://${ROOT}pipeline/run/forget.ts`)};
  import { defaultConfiguration } from ${
  JSON.stringify(`file://${ROOT}pipeline/settings/configuration.ts`)
};
  const before = { forgottenBefore: [], passages: {} };
  const named = { forget: { ids: ["7"], paths: ["folder/of/texts/9000?.txt"] } };
  const found = await findForgotten(Deno.args[0], defaultConfiguration(), before, named);
  console.log(found.forgotten.map(({ document }) => String(document)).join(" "));
`;

Deno.test("documents to forget are found in an index that is larger than memory", () =>
  inFolder(async (run) => {
    await Deno.mkdir(`${run}/tokenizer`);
    await Deno.writeTextFile(`${run}/tokenizer/tokenizer.json`, (await byteTokenizer()).json);
    const batches = function* () {
      for (let batch = 0; batch < BATCHES; batch++) {
        const rows = Array.from({ length: ROWS }, (_, row) => {
          const document = batch * ROWS + row;
          return {
            document: BigInt(document),
            path: `folder/of/texts/${document}.txt`,
            place: 0,
            sha256: String(document).padStart(64, "0"),
            source: `source ${document}`,
            side: "train" as const,
            tokens: 10,
            expert: "0",
            shares: "",
          };
        });
        yield toTable(documentColumns(PART_COLUMNS, rows), { format: 1, stage: "split" });
      }
    };
    await writeBatches(`${run}/partition/index/documents.arrow`, batches());
    const child = `${run}/child.ts`;
    await Deno.writeTextFile(child, CHILD);
    const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "-A",
        "--no-check",
        "--quiet",
        `--config=${ROOT}deno.json`,
        "--v8-flags=--max-old-space-size=40",
        child,
        run,
      ],
    }).output();
    const text = new TextDecoder();
    const last = Array.from({ length: 10 }, (_, i) => 90_000 + i);
    assertEquals(
      text.decode(stdout).trim(),
      [7, ...last].join(" "),
      text.decode(stderr).slice(-500),
    );
  }));
