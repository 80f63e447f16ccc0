/**
 * Says how a file of a run is made again, by the graph of stages.
 *
 * @module
 */

import { relative } from "node:path";
import { say, setting, task, type Text } from "../../kernels/errors.ts";
import { exists, isFolder } from "../run/files.ts";
import { defaultConfiguration } from "../settings/configuration.ts";
import { againCommandOf, commandOf } from "./command.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { damagedOutputs, readManifest, runOf } from "../run/manifest.ts";
import { type Graph, graphOf } from "./graph.ts";
import { LEARN } from "./learn.ts";
import { partitionRemedy, partsAlone } from "./parts_alone.ts";

/**
 * Says how a damaged or missing file or folder of a run is made, by the stage that makes it. Undefined for
 * other files, and for a file that is as the manifest of its stage says or that the manifest does not know:
 * making it again would mend nothing. `choosing` says whether an expert may be named, so that nothing has to
 * route.
 */
export async function repairOf(where: string, { choosing = false } = {}): Promise<Text | undefined> {
  const file = where.replace(/, batch \d+$|\/+$/, ""); // readers of shards say the batch as well
  const run = await runOf(file);
  if (run === null) return undefined;
  const path = relative(run, file);
  const alone = await partsAlone(run);
  const read = await readRunConfiguration(run).catch(() => null);
  const stage = findMaker(graphOf(read?.configuration ?? defaultConfiguration()), path);
  if (!stage) return undefined;
  const made = await readManifest(run, stage.name).catch(() => undefined); // undefined: it is damaged
  const known = Object.entries(made?.outputs ?? {}).filter(([name]) => `${name}/`.startsWith(`${path}/`));
  if (made && (await damagedOutputs(run, { outputs: Object.fromEntries(known) })).length === 0) {
    return undefined;
  }
  if (alone.length > 0 && !alone.some((expert) => stage.command?.with?.expert === expert)) {
    const remedy = await partitionRemedy(run);
    const routes = stage.name === LEARN;
    return routes && choosing
      ? say`${remedy}, or choose with ${setting("expert")} ${alone.join(" or ")}`
      : remedy;
  }
  const command = commandOf(stage, run);
  if (await exists(file)) {
    if (made && path in made.outputs && await isFolder(file)) {
      return say`remove that folder and run ${againCommandOf(stage, run, made, { check: true })}`;
    }
    if (made === null) return say`run ${command} first`;
    const what = await isFolder(file) ? "folder" : "file";
    return say`run ${
      againCommandOf(stage, run, made, made ? { check: true } : { force: true })
    }, or copy the ${what} again`;
  }
  return say`run ${stage.onRequest ? againCommandOf(stage, run, made) : task("partition", { run })} first`;
}

/** Finds the stage that makes a file, or whose manifest it is. */
function findMaker(graph: Graph, path: string) {
  const [, name] = /^manifests\/(.+)\.json$/.exec(path) ?? [];
  return name === undefined ? graph.maker(path) : graph.get(name);
}
