/**
 * Writes what a run holds for other trainers and tools.
 *
 *   deno task export --run runs/a --to megatron --expert all
 */
import { expertFolder } from "../pipeline/graph/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { Exported } from "../pipeline/run/mod.ts";
import { ensure } from "../kernels/errors.ts";
import { defineTask } from "./command.ts";
import { expertsNamed, take } from "./options.ts";
import { bytes, counted } from "./layout.ts";

const { choice, flag, path, text } = field;
const FORMATS = ["megatron", "datasets", "parquet", "text", "safetensors"] as const;
const ONLY = [["as", "parquet"], ["untie", "safetensors"]] as const; // options of one format

/** Reports what an export wrote, or that it is there. */
function exportedText({ output, state, of, files, result }: Exported): string {
  const sizes = Object.values(files).map(({ bytes }) => bytes);
  const kinds = Object.entries(result as Record<string, { texts: number; tokens: number }>).map(
    ([kind, { texts, tokens }]) =>
      `${kind} ${counted(texts, "texts")} of ${counted(tokens, "tokens")}`,
  );
  const size = `${sizes.length} files, ${bytes(sizes.reduce((a, b) => a + b, 0))}`;
  return [`${output}: ${of.of} ${state === "done" ? "is written" : "is there"}`, ...kinds, size]
    .join(", ");
}

export const TASK = await defineTask({
  name: "export",
  startsAnew: true,
  options: {
    ...take("run"),
    to: choice<typeof FORMATS[number], undefined>(
      FORMATS,
      {},
      "what to write; safetensors is a trained expert, the others are text",
    ),
    expert: text(
      { value: "N|all" },
      "the expert whose part or model to write, or all, a folder each",
    ),
    allText: flag("all text instead, as whole documents in their order"),
    as: choice(["tokens", "text"], { default: "tokens" }, "with --to parquet: what a row holds"),
    untie: flag("with --to safetensors: write the output head as a tensor of its own"),
    output: path(
      { value: "FOLDER" },
      "folder to write into, new or empty; without it one in the run",
    ),
    force: flag("replace another export in that folder, and write again what is there"),
  },
  run: async ({ options, given, signal, onEvent, print }) => {
    const { run, to, expert, allText } = options;
    ensure(
      to !== undefined,
      `Cannot export as --to must be one of ${FORMATS.join(", ")}: it is not given`,
    );
    const [name, only] = ONLY.find(([name, only]) => given.has(name) && to !== only) ?? [];
    ensure(!name, `Cannot export as --${name} must come with --to ${only}: --to is ${to}`);
    const isModel = to === "safetensors";
    const both = isModel ? "a model has no text" : "both are given";
    ensure(
      allText !== (expert !== undefined) && !(allText && isModel),
      `Cannot export as one of --expert or --all-text must say what: ${
        allText ? both : "neither is given"
      }`,
    );
    const { exportModel, exportTexts, readExpertCount } = await import("../pipeline/run/mod.ts");
    const experts = await readExpertCount(run);
    const wanted = allText ? [undefined] : expertsNamed(expert, experts, "export");
    const all = await Array.fromAsync(wanted, async (id) => {
      const place = id === undefined ? "all-text" : expertFolder(id, experts);
      const base = options.output ?? `${run}/export/${to}`;
      const own = {
        ...options,
        output: options.output && expert !== "all" ? base : `${base}/${place}`,
      };
      if (to === "safetensors") return await exportModel({ ...own, expert: id! });
      return await exportTexts({ ...own, to, expert: id }, { signal, onEvent });
    });
    print({ run, exports: all }, all.map(exportedText).join("\n"));
  },
}, import.meta);
