/**
 * Settings of a run that takes a second, as `SMALL` of the tasks' tests has them as flags, and stages that need no model.
 *
 * @module
 */

import { wordText } from "../../../kernels/errors.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { writeAtomic } from "../../../pipeline/run/files.ts";
import { outputsHash } from "../../../pipeline/run/manifest.ts";
import { STAGES } from "../../../pipeline/stages/graph.ts";
import { partition } from "../../../pipeline/stages/partition.ts";
import { inRun, type RunOptions } from "../../../pipeline/stages/session.ts";
import { oneStage, type Stage } from "../../../pipeline/stages/stage.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { inFolder, smallCorpus } from "../../tasks/support.ts";
import { SMALL_SETTINGS } from "../nodes/support.ts";

export { SMALL_SETTINGS };

/** A stage that writes one file with a text that its setting, its input and a counter of runs make; for tests of what runs stages. */
export function toyStage(
  name: string,
  { needs = [], settings = [], ...more }: Partial<Stage> = {},
): Stage & { runs: number } {
  const stage: Stage & { runs: number } = {
    name,
    about: `Makes ${name}.`,
    needs,
    settings,
    revision: 1,
    outputs: [`${name}/`],
    runs: 0,
    async inputs(_, manifest): Promise<Record<string, string>> {
      const found = await Promise.all(needs.map(async (need) => [need, await manifest(need)] as const));
      return Object.fromEntries(found.flatMap(([need, made]) => made ? [[need, outputsHash(made)]] : []));
    },
    prepare: ({ run, configuration }, { inputs }) => async () => {
      stage.runs++;
      const text = JSON.stringify([settings.map((setting) => configuration[setting]), inputs]);
      const path = `${name}/${name}.txt`;
      return { outputs: { [path]: await writeAtomic(`${run}/${path}`, text) }, result: { runs: stage.runs } };
    },
    ...more,
  };
  return stage;
}

/** Runs a test with these stages in the table and no others, in a run folder with a configuration. */
export async function withStages(
  stages: readonly Stage[],
  test: (run: string) => Promise<void>,
): Promise<void> {
  const all = [...STAGES];
  const run = await Deno.makeTempDir();
  try {
    STAGES.clear();
    for (const stage of stages) STAGES.set(stage.name, oneStage(stage));
    await test(run);
  } finally {
    STAGES.clear();
    for (const [name, kind] of all) STAGES.set(name, kind);
    await Deno.remove(run, { recursive: true });
  }
}

/** Runs the partition of the stages in the table, and returns what was told of each. */
export async function runAll(run: string, options: Omit<RunOptions, "run"> = {}): Promise<string[]> {
  const told: string[] = [];
  const onEvent = (event: RunEvent) => {
    if (event.type === "stage" && event.state !== "started") told.push(`${event.stage} ${event.state}`);
    if (event.type === "warning") told.push(wordText(event.message));
  };
  await inRun({ run, ...options }, { onEvent }, { task: "partition" }, async (session) => {
    for (const stage of session.states.graph.partition) await session.run(stage);
  });
  return told;
}

/** Partitions a small corpus in a folder of its own, and runs a test there. */
export async function withPartition(
  test: (run: string, flags: Partial<Configuration>) => Promise<void>,
  more: Partial<Configuration> = {},
): Promise<void> {
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const flags = { ...SMALL_SETTINGS, input: [`${folder}/docs.jsonl`], ...more };
    await partition({ run: `${folder}/run`, sources: { flags } });
    await test(`${folder}/run`, flags);
  });
}
