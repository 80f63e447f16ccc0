/**
 * The section of a report that says what ran: text, models, settings and stages.
 *
 * @module
 */

import { setting, type Words, wordText } from "../../../kernels/errors.ts";
import type { Cost } from "../../cost/cost.ts";
import { PARTITIONERS } from "../../partition/partitioners.ts";
import { FIELD_NAMES, FIELDS } from "../../settings/configuration.ts";
import { type Content, foldedTable, markup, number, type Table, unbroken } from "../html.ts";
import type { Manifest } from "../../run/manifest.ts";
import { secondsOf } from "../../run/timing.ts";
import type { RunRecord } from "../read.ts";
import type { Section } from "../section.ts";
import { bytes, plural, rough, shape, spent } from "./words.ts";

/** Writes the section: facts about text, models and machine, then all settings and stages; `words` says how settings are worded. */
export function whatRanSection({ config, manifests, times }: RunRecord, cost: Cost, words?: Words): Section {
  const { configuration, versions, adapter } = config;
  const of = (stage: string, name: string) => {
    const value = manifests[stage]?.result[name];
    return typeof value === "number" ? number(value) : null;
  };
  const tokens = (name: string) => of("tokenize", name);
  const kind = PARTITIONERS.get(configuration.partitioner);
  const facts: [string, Content][] = [
    ["text", configuration.input.length === 0 ? "the embedded corpus" : configuration.input.join(", ")],
    ["documents", tokens("documents") ?? of("corpus", "documents")],
    [
      "tokens",
      tokens("tokens") &&
      `${tokens("tokens")}, of a vocabulary of ${tokens("vocabulary")}; ${
        tokens("trainSequences")
      } training and ${tokens("testSequences")} held-out sequences of at most ${
        number(configuration.sequenceLength)
      }`,
    ],
    ["experts", `${configuration.experts}, each of ${shape(cost.mixture.expert, cost.parameters.expert)}`],
    configuration.routers === "" && kind && !kind.models ? ["partitioner", `${kind.kind}: ${kind.about}`] : [
      "routers",
      `${configuration.experts}, each of ${shape(cost.mixture.router, cost.parameters.router)}; ${
        configuration.routers === ""
          ? `${plural(configuration.rounds, "EM round")}, prefix of ${configuration.prefix} tokens`
          : `taken from ${configuration.routers}`
      }`,
    ],
    ["seed", String(configuration.seed)],
    ["adapter", adapter && `${adapter.description} (${adapter.kind})`],
    ["versions", Object.entries(versions ?? {}).map(([name, version]) => `${name} ${version}`).join(", ")],
  ];
  const stages: Table = {
    head: ["stage", "time", "speed", "files", "size", "key"],
    rows: Object.values(manifests).map(({ stage, outputs, key, result }) => {
      const sizes = Object.values(outputs).map((file) => file.bytes);
      const seconds = secondsOf(times, stage);
      return [
        ...[stage, spent(seconds), speedOf(result, seconds)],
        ...[sizes.length, bytes(sizes.reduce((a, b) => a + b, 0)), key.slice(0, 12)],
      ];
    }),
  };
  const settings: Table = {
    head: ["setting", "value", "meaning"],
    rows: FIELD_NAMES.filter((name) => name in configuration).map((name) => [
      unbroken(wordText([setting(name)], words)),
      [configuration[name]].flat().join(", ") || "none",
      unbroken(wordText(FIELDS[name].help, words)),
    ]),
  };
  return {
    id: "what-ran",
    title: "What ran",
    lead: [
      markup`<dl>\n${
        facts.filter(([, value]) => value)
          .map(([name, value]) => markup`<dt>${name}</dt><dd>${value}</dd>\n`)
      }</dl>\n`,
      foldedTable(settings, "Settings", "All settings"),
      foldedTable(stages, "Stages", "Stages that are complete"),
    ],
  };
}

/** Says how much of what a stage counts it did in a second: tokens, or else sequences or documents. */
function speedOf(result: Manifest["result"], seconds: ReturnType<typeof secondsOf>): string | null {
  const unit = ["tokens", "sequences", "documents"].find((name) => typeof result[name] === "number");
  return unit && typeof seconds === "number" && seconds > 0
    ? `${number(rough(Number(result[unit]) / seconds))} ${unit}/s`
    : null;
}
