/**
 * Exports a mixture as a site: a folder for any static web server, whose page routes prompts and
 * runs the chosen expert in the browser.
 *
 *     index.html  style.css  script.js
 *     site.json                 small files as text; sizes and hashes of the others; the experts
 *     tokenizer.json
 *     partitioner/router-00/model.safetensors …     experts/expert-00/model.safetensors …
 *
 * @module
 */

import PAGE from "../serving/page/index.html" with { type: "text" };
import STYLE from "../serving/page/style.css" with { type: "text" };
import { InputError, say, setting } from "../../kernels/errors.ts";
import { expertFolder, PARTITIONER, TOKENIZER, TOKENIZER_FILE } from "../graph/node.ts";
import { runConfigurationText } from "../graph/configuration.ts";
import { jsonText, listEntries, sha256 } from "../graph/files.ts";
import { readVerified } from "../graph/schema.ts";
import { encodeSafetensors, type SafetensorsDtype } from "../model/checkpoints/safetensors.ts";
import { checkRange, loadCheckpoint, nameTensors } from "../model/checkpoints/checkpoint.ts";
import {
  type CheckpointNotes,
  huggingFaceConfig,
} from "../model/checkpoints/hugging_face_config.ts";
import { exampleOf, expertNames } from "../partition/names.ts";
import { partitionerFolder, partitionerKind } from "../partition/partitioners.ts";
import { type Configuration, defaultConfiguration } from "../settings/configuration.ts";
import { needConfiguration } from "../stages/parts.ts";
import { expertTarget } from "../stages/targets.ts";
import { MOST_BYTES, type Site, SITE_FORMAT } from "../web/site.ts";
import { bundleScript } from "../web/bundle.ts";
import { type Exported, exportInto, type ExportTextOptions } from "./export.ts";
import { modelsOfRun } from "./evaluate_run.ts";
import type { RunWatch } from "./run.ts";

/** What {@linkcode exportSite} takes. */
export interface ExportSiteOptions extends Pick<ExportTextOptions, "run" | "output" | "force"> {
  /** Number type of the weights that are downloaded. Default: f32. */
  dtype?: "f32" | "f16";
}

/** Settings of the run that its page needs; others may name the user's files. */
const NEEDED = [
  "experts",
  "prefix",
  "eos",
  "expertHidden",
  "expertLayers",
  "expertHeads",
] as const;

/**
 * Exports the routers and all experts of a run as a site.
 *
 * Throws an `InputError` where an expert is not trained, where the partitioner has no routers, or
 * where the folder holds files of others. Throws a `RunError` where the disk is full, or the script
 * cannot be bundled.
 */
export async function exportSite(
  { run, output, force, dtype = "f32" }: ExportSiteOptions,
  watch: RunWatch = {},
): Promise<Exported> {
  const configuration = await needConfiguration(run);
  const { experts } = configuration;
  const routing = await partitionerFolder(run, configuration.routers);
  const { kind } = await partitionerKind(routing);
  if (kind !== "em") {
    throw new InputError(
      `Cannot export "${run}" as a site as routers must choose its experts: ${kind} does`,
      { where: run, remedy: say`partition with ${setting("partitioner", "em")}` },
    );
  }
  await modelsOfRun(run, configuration, "export");
  const script = await bundleScript();
  const folders = {
    ...Object.fromEntries(
      (await listEntries(routing)).filter(({ isDirectory }) => isDirectory)
        .map(({ name }) => [`${PARTITIONER}/${name}`, `${routing}/${name}`]),
    ),
    ...Object.fromEntries(Array.from({ length: experts }, (_, expert) => [
      `experts/${expertFolder(expert, experts)}`,
      `${run}/${expertTarget(expert, configuration).node}`,
    ])),
  };
  const site = await describeSite(run, configuration, routing);
  const type = dtype.toUpperCase() as SafetensorsDtype;
  const hashes: Record<string, string> = {};
  for (const [path, folder] of Object.entries(folders).sort()) {
    const { config, weights, notes, sha256 } = await loadCheckpoint(folder);
    checkRange(weights, type, folder);
    const { bytes } = encodeSafetensors(new Map(nameTensors(config, weights)), { dtype: type });
    checkSize(folder, bytes, dtype);
    hashes[path] = sha256;
    const name = { f32: "float32", f16: "float16" }[dtype];
    site.texts[`${path}/config.json`] = jsonText(
      huggingFaceConfig(config, publicNotes(notes), name),
    );
  }
  const tokenizer = await readVerified(`${run}/${TOKENIZER}/${TOKENIZER_FILE}`);
  const page = [jsonText(site), script, STYLE, PAGE, sha256(tokenizer)];
  const settings = {
    to: "web",
    of: "all experts",
    dtype,
    page: sha256(page.join()),
    models: hashes,
  };
  return await exportInto({ run, output, of: settings, force }, watch, async (making) => {
    const write = async (path: string, data: Uint8Array | Iterable<Uint8Array>) => {
      await making.write(path, data);
      const whole = await Deno.readFile(`${making.folder}/${path}`);
      site.files[path] = { bytes: whole.length, sha256: sha256(whole) };
    };
    await write(TOKENIZER_FILE, tokenizer);
    for (const [path, folder] of Object.entries(folders)) {
      const { config, weights } = await loadCheckpoint(folder);
      const tensors = new Map(nameTensors(config, weights));
      await write(`${path}/model.safetensors`, encodeSafetensors(tensors, { dtype: type }));
    }
    await making.write("site.json", jsonText(site));
    await making.write("script.js", script);
    await making.write("style.css", STYLE);
    await making.write("index.html", PAGE);
    return { bytes: Object.values(site.files).reduce((sum, { bytes }) => sum + bytes, 0) };
  });
}

/** Lists what a site consists of, but for its models. */
async function describeSite(
  run: string,
  configuration: Configuration,
  routing: string,
): Promise<Site> {
  const { experts } = configuration;
  const names = await expertNames(run);
  return {
    format: SITE_FORMAT,
    title: experts === 1 ? "One small expert" : `One of ${experts} small experts answers`,
    texts: {
      "config.json": runConfigurationText({
        ...defaultConfiguration(),
        ...Object.fromEntries(NEEDED.map((name) => [name, configuration[name]])),
      }),
      [`${PARTITIONER}/partitioner.json`]: await readText(`${routing}/partitioner.json`),
    },
    files: {},
    experts: Array.from({ length: experts }, (_, expert) => {
      const name = expertFolder(expert, experts);
      const named = names?.[expert];
      return {
        name,
        weights: `experts/${name}/model.safetensors`,
        words: named?.terms.map(({ text }) => text) ?? [],
        example: named ? exampleOf(named) : null,
      };
    }),
  };
}

/** Throws an `InputError` where a file is larger than a browser's buffers. */
function checkSize(folder: string, bytes: number, dtype: "f32" | "f16"): void {
  if (bytes <= MOST_BYTES) return;
  const rule = `no file of a site may have more than ${MOST_BYTES} bytes`;
  throw new InputError(`Cannot export "${folder}" as ${rule}: it has ${bytes}`, {
    where: folder,
    remedy: dtype === "f32"
      ? say`halve it with ${setting("saveDtype", "f16")}, or train smaller experts`
      : "train smaller experts",
  });
}

/** Leaves out of a checkpoint's notes what is not for the public: a path of the user's machine. */
const publicNotes = (
  { tokenizer, prefix, eos, partition, adopted }: CheckpointNotes,
): CheckpointNotes => ({
  tokenizer,
  prefix,
  eos,
  partition,
  adopted: adopted === undefined ? undefined : "elsewhere",
});

const readText = async (path: string) => new TextDecoder().decode(await readVerified(path));
