/**
 * The settings that hold while a process works in a run folder: those of the run, of the command, and of an
 * existing partitioner.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import { InputError, say, setting, task as taskOf } from "../../kernels/errors.ts";
import { identifyPartitioner } from "../partition/partitioners.ts";
import { readRunConfiguration, writeRunConfiguration } from "../run/configuration.ts";
import { exists } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Sources } from "../settings/resolution.ts";
import type { Document } from "../text/readers.ts";
import { checkPlace } from "./parts_alone.ts";
import { resolveRun } from "./resolution.ts";
import { checkOwn, needConfiguration } from "./run_folder.ts";

/** How a run folder is opened. */
export interface SessionKind {
  /** Task that works there. */
  task: string;
  /**
   * How the work goes by the settings of the run. By default it does so to its end, so nobody may change them
   * meanwhile. As one of the `parts` of a stage it changes no setting. As one of the `others` in an existing
   * run it writes its settings when it begins.
   */
  beside?: "parts" | "others";
  /** Whether the folder may hold only a part, with the `config.json` and `tokenizer.json` of its run. */
  partSuffices?: boolean;
  /** Accepts settings that differ from the run's without running anything again for it. */
  accepts?: boolean;
  /** Does not write the settings: the run's `config.json` stays as it is. */
  aside?: boolean;
  /**
   * Text that a script hands over, instead of text that settings name; the settings then say standard input.
   */
  documents?: ReadableStream<Document>;
}

/** Notes in the settings that text is handed over. Throws an `InputError` where they name text themselves. */
export function withoutInput({ flags = {}, ...sources }: Sources = {}): Sources {
  const named = flags.input?.length ? "input" : flags.corpus !== undefined ? "corpus" : undefined;
  if (named === undefined) return { ...sources, flags: { ...flags, input: ["-"] } };
  throw new InputError(
    say`Cannot read two corpora, as only one of documents and ${setting(named)} may be given: both are`,
  );
}

function changedInPart(run: string, task: string, name: string): InputError {
  return new InputError(
    `Cannot run a part of "${task}" in "${run}" as its values must be those of its config.json: ${name} is not`,
    { remedy: say`accept the change first with ${taskOf(task, { run, force: true })}, for all of it` },
  );
}

/**
 * Takes E, and the tokenizer unless one is named, from an existing partitioner. A run that has them already
 * does not need to read the partitioner, whose folder may be on another machine.
 */
async function withPartitioner(
  { configuration, exists: isThere }: { configuration: Configuration; exists: boolean },
  { file, flags }: Sources,
): Promise<Configuration> {
  const { routers: folder, tokenizer } = configuration;
  const asked = flags?.experts ?? file?.experts;
  const named = flags?.routers ?? file?.routers;
  if (folder === "" || isThere && named === undefined && asked === undefined) return configuration;
  const { experts } = await identifyPartitioner(folder);
  if (asked !== undefined && asked !== experts) {
    throw new InputError(
      say`Cannot use routers "${folder}" as ${{
        setting: "experts",
      }} must be their number: experts is ${asked}, there are ${experts}`,
      { where: folder },
    );
  }
  return { ...configuration, experts, tokenizer: tokenizer || await tokenizerOf(folder) };
}

async function tokenizerOf(folder: string): Promise<string> {
  for (const path of [`${folder}/tokenizer.json`, `${folder}/../tokenizer.json`]) {
    if (await exists(path)) return path;
  }
  throw new InputError(
    `Cannot use routers "${folder}" as their tokenizer must be known: there is no tokenizer.json there or beside it`,
    { where: folder, remedy: say`name it with ${{ setting: "tokenizer" }}` },
  );
}

/**
 * Resolves the settings and checks that they may hold in the run folder. Throws an `InputError` where the folder is not a run's or the
 * settings contradict it, unless `force` or the kind of work accepts that.
 */
export async function settledSettings(
  run: string,
  sources: Sources,
  force: boolean,
  { task, beside, partSuffices, accepts = false }: SessionKind,
): ReturnType<typeof resolveRun> {
  if (beside === "others") await needConfiguration(run, task, partSuffices, force || accepts);
  else {
    await checkPlace(run, task);
    await checkOwn(run, task);
  }
  const settled = await resolveRun(run, sources, force || accepts);
  if (beside === "parts" && settled.changed.length > 0) throw changedInPart(run, task, settled.changed[0]);
  return { ...settled, configuration: await withPartitioner(settled, sources) };
}

/** Writes the settings into the `config.json` of a run, with the device where this process has opened one for the whole run. */
export async function writeSettings(
  run: string,
  configuration: Configuration,
  { beside, aside }: SessionKind,
  gpu?: Gpu,
): Promise<void> {
  if (beside === "parts" || aside) return;
  const known = (await readRunConfiguration(run, { edited: true }))?.adapter;
  const used = beside === undefined && gpu
    ? { description: gpu.adapter, kind: gpu.kind, variants: { ...gpu.variants } }
    : known;
  await writeRunConfiguration(run, configuration, used);
}
