/**
 * Lays out the state of a run for a person to read.
 *
 * @module
 */

import { FIELDS } from "../pipeline/settings/mod.ts";
import type { RunStatus, StageStatus } from "../pipeline/stages/mod.ts";
import { type Owner } from "../pipeline/run/mod.ts";
import { roughBytes, table } from "./layout.ts";
import { worded, words } from "./wording.ts";

/**
 * Lays out the status of a run: a row per stage (one row for models in the same state), then the settings
 * that each was made with.
 */
export function statusText({ run, holders, parts, stages }: RunStatus): string {
  const groups = grouped(stages);
  const rows = groups.map(([name, { state, revision, outputs, because, holders }, count]) => [
    name,
    state,
    revision.made === null ? "" : String(revision.made),
    outputs ? String(count * outputs.files) : "",
    outputs ? roughBytes(count * outputs.bytes) : "",
    holders.length > 0 ? holders.map(maker).join(", ") : because ? worded(because) : "",
  ]);
  const settings = groups.flatMap(([name, { settings }]) =>
    settings ? [`  ${name}  ${settingsText(settings)}`] : []
  );
  const next =
    stages.find(({ state, partition }) => partition && state !== "up to date" && state !== "being made") ??
      stages.find(({ state, optional }) => state === "missing" && !optional || state === "out of date");
  return [
    `run  ${run}${holders.map((holder) => `, in which ${by(holder)} works`).join("")}`,
    ...(parts.length > 0
      ? [`only the parts of experts ${parts.join(", ")} lie here, without the run that they come from`]
      : []),
    "",
    table("stage | state | revision | files | size |", rows),
    ...(settings.length > 0 ? ["", "made with", ...settings] : []),
    ...(next ? ["", `next: ${words(next.command)}`] : []),
  ].join("\n");
}

const by = ({ pid, host, task, since }: Owner): string =>
  `process ${pid}${host ? ` on ${host}` : ""} (task ${task}, since ${since})`;

/** Names a process that makes a stage, since it makes that. */
const maker = (holder: Owner): string => by({ ...holder, since: holder.stage?.since ?? holder.since });

/** Joins models in the same state into one row, with the first of their names and their number. */
function grouped(stages: readonly StageStatus[]): [name: string, first: StageStatus, count: number][] {
  const groups = new Map<string, StageStatus[]>();
  for (const stage of stages) {
    const { command, state, because, settings, revision, holders } = stage;
    const key = JSON.stringify([
      command.task,
      command.with.match,
      state,
      because,
      settings,
      revision,
      holders,
    ]);
    groups.set(key, [...groups.get(key) ?? [], stage]);
  }
  return [...groups.values()].map((alike) => {
    const [first, last] = [alike[0], alike.at(-1)!];
    const name = alike.length === 1
      ? first.stage
      : `${first.stage} … ${last.stage.replace(/^.*-/, "")} (${alike.length})`;
    return [name, first, alike.length];
  });
}

/** Writes settings as flags where they are some, and as names otherwise. */
function settingsText(settings: Record<string, unknown>): string {
  const flags: Record<string, { flag: string }> = FIELDS;
  return Object.entries(settings).filter(([, value]) => value !== "" && !isEmpty(value)).map((
    [name, value],
  ) => `${flags[name]?.flag ?? name} ${typeof value === "string" ? value : JSON.stringify(value)}`).join(
    ", ",
  );
}

const isEmpty = (value: unknown) => Array.isArray(value) && value.length === 0;
