/**
 * Writes what a run holds for other trainers and tools.
 *
 *   deno task export --run runs/a --to megatron --expert all
 */
import { basename, resolve } from "node:path";
import { expertFolder } from "../pipeline/graph/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { Exported } from "../pipeline/run/mod.ts";
import { ensure, say, setting } from "../kernels/errors.ts";
import { defineTask } from "./command.ts";
import { expertsNamed, take } from "./options.ts";
import { bytes, counted } from "./layout.ts";

const { choice, flag, path, text } = field;
const MODEL_FORMATS = ["safetensors", "gguf"] as const;
const TEXT_FORMATS = ["megatron", "datasets", "parquet", "text"] as const;
const FORMATS = [...TEXT_FORMATS, ...MODEL_FORMATS] as const;
type ModelFormat = typeof MODEL_FORMATS[number];
const isModelFormat = (to: typeof FORMATS[number]): to is ModelFormat =>
  MODEL_FORMATS.some((format) => format === to);
/** Options of one format. */
const ONLY = [["as", "parquet"], ["untie", "safetensors"], ["saveDtype", "gguf"]] as const;

/** Reports what an export wrote, or that it is there. */
function exportedText({ output, state, of, files, result }: Exported): string {
  const sizes = Object.values(files).map(({ bytes }) => bytes);
  const kinds = Object.entries(result as Record<string, { texts: number; tokens: number }>).map(
    ([kind, { texts, tokens }]) =>
      `${kind} ${counted(texts, "texts")} of ${counted(tokens, "tokens")}`,
  );
  const size = `${counted(sizes.length, "files")}, ${bytes(sizes.reduce((a, b) => a + b, 0))}`;
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
      "what to write; safetensors and gguf (for llama.cpp) are a trained model, the others are text",
    ),
    expert: text(
      { value: "N|all" },
      "the expert whose part or model to write, or all, a folder each",
    ),
    allText: flag("all text instead, as whole documents in their order"),
    model: path(
      { value: "FOLDER" },
      "checkpoint to write instead of an expert, like runs/a/dense or runs/a/partitioner/router-00",
    ),
    as: choice(["tokens", "text"], { default: "tokens" }, "with --to parquet: what a row holds"),
    untie: flag("with --to safetensors: write the output head as a tensor of its own"),
    saveDtype: choice(
      ["f32", "f16", "bf16", "q8_0"],
      { default: "f16" },
      "with --to gguf: number type of matrices; q8_0 is 8 bits and a scale for every 32 values",
    ),
    output: path(
      { value: "FOLDER" },
      "folder to write into, new or empty; without it one in the run",
    ),
    force: flag("replace another export in that folder, and write again what is there"),
  },
  run: async ({ options, given, signal, onEvent, print }) => {
    const { run, to, expert, allText, model } = options;
    ensure(
      to !== undefined,
      `Cannot export as --to must be one of ${FORMATS.join(", ")}: it is not given`,
    );
    const [name, only] = ONLY.find(([name, only]) => given.has(name) && to !== only) ?? [];
    ensure(
      !name,
      say`Cannot export as ${setting(name ?? "")} must come with ${
        setting("to", only)
      }: --to is ${to}`,
    );
    const isModel = isModelFormat(to);
    ensure(
      isModel || model === undefined,
      `Cannot export as --model must come with --to ${MODEL_FORMATS.join(" or ")}: --to is ${to}`,
    );
    const wholes = ["--expert", isModel ? "--model" : "--all-text"].join(" or ");
    const isWhole = allText || model !== undefined;
    const fact = !isWhole
      ? "neither is given"
      : isModel && allText
      ? "a model has no text"
      : "both are given";
    ensure(
      isWhole !== (expert !== undefined) && !(isModel && allText),
      `Cannot export as one of ${wholes} must say what: ${fact}`,
    );
    const { exportModel, exportTexts, readExpertCount } = await import("../pipeline/run/mod.ts");
    const needsRun = model === undefined || options.output === undefined;
    const experts = needsRun ? await readExpertCount(run) : 0;
    const wanted = isWhole ? [undefined] : expertsNamed(expert, experts, "export");
    const all = await Array.fromAsync(wanted, async (id) => {
      const whole = model === undefined ? "all-text" : basename(resolve(model));
      const place = id === undefined ? whole : expertFolder(id, experts);
      const base = options.output ?? `${run}/export/${to}`;
      const own = {
        ...options,
        expert: id,
        output: options.output && expert !== "all" ? base : `${base}/${place}`,
      };
      if (isModelFormat(to)) return await exportModel({ ...own, to });
      return await exportTexts({ ...own, to }, { signal, onEvent });
    });
    print({ run, exports: all }, all.map(exportedText).join("\n"));
  },
}, import.meta);
