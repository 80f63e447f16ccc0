/**
 * Writes what a run holds for other trainers and tools.
 *
 *   deno task export --run runs/a --to megatron --expert all
 */
import { basename, resolve } from "node:path";
import { expertFolder } from "../pipeline/graph/mod.ts";
import { binaryBytes } from "../pipeline/graph/numbers.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { Exported, RunWatch } from "../pipeline/run/mod.ts";
import { ensure, say, setting } from "../kernels/errors.ts";
import { defineTask } from "./cli/command.ts";
import { expertsNamed, take } from "./cli/options.ts";
import { counted } from "./cli/layout.ts";

const { choice, flag, path, text } = field;
const MODEL_FORMATS = ["safetensors", "gguf"] as const;
const TEXT_FORMATS = ["megatron", "datasets", "parquet", "text"] as const;
const FORMATS = [...TEXT_FORMATS, ...MODEL_FORMATS, "web"] as const;
type ModelFormat = typeof MODEL_FORMATS[number];
const isModelFormat = (to: typeof FORMATS[number]): to is ModelFormat =>
  MODEL_FORMATS.some((format) => format === to);
/** Options of some formats. */
const ONLY = [
  ["as", ["parquet"]],
  ["untie", ["safetensors"]],
  ["saveDtype", ["gguf", "web"]],
  ["serve", ["web"]],
] as const;
/** Number types of weights that a browser reads. */
const WEB_TYPES = ["f32", "f16"] as const;

type Counts = Record<string, { texts: number; tokens: number }>;

/** Reports what an export wrote, or that it is there. */
function exportedText({ output, state, of, files, result }: Exported): string {
  const sizes = Object.values(files).map(({ bytes }) => bytes);
  const kinds = of.to === "web" ? [] : Object.entries(result as Counts).map((
    [kind, { texts, tokens }],
  ) => `${kind} ${counted(texts, "texts")} of ${counted(tokens, "tokens")}`);
  const size = `${counted(sizes.length, "files")}, ${
    binaryBytes(sizes.reduce((a, b) => a + b, 0))
  }`;
  return [`${output}: ${of.of} ${state === "done" ? "is written" : "is there"}`, ...kinds, size]
    .join(", ");
}

/** Writes the whole mixture as a page, and serves it where that is asked for. */
async function exportWeb(
  {
    run,
    expert,
    allText,
    model,
    serve,
    port,
    force,
    signal,
    onEvent,
    print,
    givenNames,
    ...options
  }: {
    run: string;
    expert?: string;
    allText: boolean;
    model?: string;
    output?: string;
    saveDtype: string;
    serve: boolean;
    port: number;
    force: boolean;
    signal: AbortSignal;
    onEvent: RunWatch["onEvent"];
    print: (value: object, text: string) => void;
    givenNames: ReadonlySet<string>;
  },
): Promise<void> {
  const dtype = WEB_TYPES.find((type) => type === options.saveDtype);
  ensure(
    dtype || !givenNames.has("saveDtype"),
    `Cannot export as --save-dtype must be f32 or f16 with --to web: it is ${options.saveDtype}`,
  );
  ensure(
    expert === undefined && !allText && model === undefined,
    "Cannot export as --to web takes the whole mixture: leave out --expert, --all-text and --model",
  );
  const { exportSite } = await import("../pipeline/run/mod.ts");
  const output = options.output ?? `${run}/export/web`;
  const exported = await exportSite(
    { run, output, force, dtype: givenNames.has("saveDtype") ? dtype : "f32" },
    { signal, onEvent },
  );
  print({ run, exports: [exported] }, exportedText(exported));
  if (!serve) return;
  const { serveSite } = await import("../pipeline/web/mod.ts");
  const onListen = (url: string) => console.error(`${url} (Ctrl-C ends it)`);
  await serveSite(output, { port, signal, onListen });
}

export const TASK = await defineTask({
  name: "export",
  startsAnew: true,
  options: {
    ...take("run"),
    to: choice<typeof FORMATS[number], undefined>(
      FORMATS,
      {},
      "what to write; safetensors and gguf (for llama.cpp) are a trained model, web a page that " +
        "runs the mixture in a browser, the others are text",
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
      "with --to gguf: number type of matrices; q8_0 is 8 bits and a scale for every 32 values; " +
        "with --to web: f32, which it is unless given, or f16",
    ),
    serve: flag("with --to web: serve the page on this machine, to look at it, until Ctrl-C"),
    port: field.integer(
      { default: 8080, min: 0, max: 65_535 },
      "with --serve: port to listen on; 0 takes a free one",
    ),
    output: path(
      { value: "FOLDER" },
      "folder to write into, new or empty; without it one in the run",
    ),
    force: flag("replace another export in that folder, and write again what is there"),
  },
  run: async ({ options, givenNames, signal, onEvent, print }) => {
    const { run, to, expert, allText, model } = options;
    ensure(
      to !== undefined,
      `Cannot export as --to must be one of ${FORMATS.join(", ")}: it is not given`,
    );
    const isFor = (formats: readonly string[]) => formats.includes(to);
    const [name, formats = []] = ONLY.find(([name, formats]) =>
      givenNames.has(name) && !isFor(formats)
    ) ?? [];
    ensure(
      !name,
      say`Cannot export as ${setting(name ?? "")} must come with ${setting("to")} ${
        formats.join(" or ")
      }: --to is ${to}`,
    );
    if (to === "web") return await exportWeb({ ...options, signal, onEvent, print, givenNames });
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
      const expertOptions = {
        ...options,
        expert: id,
        output: options.output && expert !== "all" ? base : `${base}/${place}`,
      };
      if (isModelFormat(to)) return await exportModel({ ...expertOptions, to });
      return await exportTexts({ ...expertOptions, to }, { signal, onEvent });
    });
    print({ run, exports: all }, all.map(exportedText).join("\n"));
  },
}, import.meta);
