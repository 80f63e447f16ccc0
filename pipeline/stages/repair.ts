/**
 * Says how a file of a run is made again, from the graph of stages.
 *
 * @module
 */

import { say, setting, task, type Text } from "../../kernels/errors.ts";
import { exists, isFolder } from "../run/files.ts";
import { defaultConfiguration } from "../settings/configuration.ts";
import { commandOf } from "./command.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { readManifest } from "../run/manifest.ts";
import { type Graph, graphOf } from "./graph.ts";
import { LEARN } from "./learn.ts";
import { partitionRemedy, partsAlone } from "./parts_alone.ts";

/** Says how a damaged or missing file of a run is made, by the stage that makes it; undefined for other files. */
export async function repairOf(file: string): Promise<Text | undefined> {
  const place = await placeInRun(file);
  if (!place) return undefined;
  const { run, path } = place;
  const alone = await partsAlone(run);
  const read = await readRunConfiguration(run).catch(() => null);
  const stage = findMaker(graphOf(read?.configuration ?? defaultConfiguration()), path);
  if (!stage) return undefined;
  if (alone.length > 0 && !alone.some((expert) => stage.command?.with?.expert === expert)) {
    const remedy = await partitionRemedy(run);
    const chooses = stage.name === LEARN;
    return chooses ? say`${remedy}, or choose with ${setting("expert")} ${alone.join(" or ")}` : remedy;
  }
  const command = commandOf(stage, run);
  if (await exists(file)) {
    const made = await readManifest(run, stage.name).catch(() => null);
    const how = made && path in made.outputs ? { check: true } : { force: true };
    return say`run ${commandOf(stage, run, how)}, or copy the file again`;
  }
  return say`run ${stage.onRequest ? command : task("partition", { run })} first`;
}

/** Finds the stage that makes a file, or whose manifest it is. */
function findMaker(graph: Graph, path: string) {
  const [, name] = /^manifests\/(.+)\.json$/.exec(path) ?? [];
  return name === undefined ? graph.maker(path) : graph.get(name);
}

/** Finds the folder of the run that a file or folder lies in, and its path there; null where it lies in none. */
async function placeInRun(file: string): Promise<{ run: string; path: string } | null> {
  const names = file.split("/");
  for (let end = names.length - 1; end >= 0; end--) {
    const run = names.slice(0, end).join("/") || (file.startsWith("/") ? "/" : ".");
    if (await isFolder(`${run}/manifests`)) return { run, path: names.slice(end).join("/") };
  }
  return null;
}
