// What ran: text, models, settings and stages; and what is no longer of the run as it is now.

import { duration, numberText, rough, unbrokenBytes } from "../../graph/numbers.ts";
import { setting, type Words, wordText } from "../../../kernels/errors.ts";
import type { Cost } from "../../cost/cost.ts";
import type { ModelConfig } from "../../model/shape.ts";
import { PARTITIONERS } from "../../partition/partitioners.ts";
import { FIELD_NAMES, FIELDS } from "../../settings/configuration.ts";
import { lineageStepText } from "../../stages/derivation.ts";
import { type Lack, stagesText } from "../../run/status.ts";
import {
  type Content,
  foldedTable,
  htmlTable,
  markup,
  plural,
  unbroken,
  valueText,
} from "../html.ts";
import type { Section } from "../page.ts";
import type { RunRecord, Spent } from "../read.ts";

/** Writes the size of a model: parameters, width, layers and heads. */
export function shape(
  { hidden, layers, heads }: Pick<ModelConfig, "hidden" | "layers" | "heads">,
  parameters: number,
): string {
  const parts = [`width ${hidden}`, plural(layers, "layer"), plural(heads, "head")];
  return `${numberText(parameters)} parameters (${parts.join(", ")})`;
}

/** Writes how long something took. */
export const spent = (seconds: Spent): string | null =>
  typeof seconds === "number" ? duration(seconds) : seconds ?? null;

/** Gives how many of something were done in a second; null where the time is not known. */
export const speed = (count: number, seconds: Spent): number | null =>
  typeof seconds === "number" && seconds > 0 ? rough(count / seconds) : null;

function folderSpeed({ counts, seconds }: RunRecord["folders"][number]): string | null {
  const unit = (["tokens", "sequences", "documents"] as const).find((name) => counts[name] > 0);
  const rate = unit === undefined ? null : speed(counts[unit], seconds);
  return rate === null ? null : `${numberText(rate)} ${unit}/s`;
}

function facts(
  { config, text, adapters, cost, lineage }: RunRecord & { cost: Cost },
): [string, Content][] {
  const { configuration: { routers, rounds, prefix, experts, ...settings }, versions } = config;
  const { mixture, parameters } = cost;
  const kind = PARTITIONERS.get(settings.partitioner);
  const learned = routers === ""
    ? `${plural(rounds, "EM round")}, prefix of ${prefix} tokens`
    : `taken from ${routers}`;
  const tokens = text && [
    `${numberText(text.tokens)}, of a vocabulary of ${numberText(text.vocabulary)}; `,
    `${numberText(text.trainSequences)} training and ${
      numberText(text.testSequences)
    } held-out sequences `,
    `of at most ${numberText(settings.sequenceLength)}`,
  ];
  return [
    ["text", settings.input.join(", ") || "the embedded corpus"],
    ["documents", text && numberText(text.documents)],
    ["tokens", tokens],
    ...lineage.map((
      step,
    ): [string, Content] => [`derives from ${step.from}`, lineageStepText(step)]),
    ["experts", `${experts}, each of ${shape(mixture.expert, parameters.expert)}`],
    routers === "" && kind && !kind.models
      ? ["partitioner", `${kind.kind}: ${kind.about}`]
      : ["routers", `${experts}, each of ${shape(mixture.router, parameters.router)}; ${learned}`],
    ["seed", String(settings.seed)],
    ["adapter", adapters.join(", ")],
    [
      "versions",
      Object.entries(versions).map(([name, version]) => `${name} ${version}`).join(", "),
    ],
  ];
}

/** Facts about text, models and machine, then all settings and stages. */
export const whatRanSection: Section<RunRecord & { cost: Cost; words?: Words }> = {
  id: "what-ran",
  title: "What ran",
  parts: (run) => {
    const { config: { configuration }, folders, words } = run;
    const reported = facts(run).filter(([, value]) => value)
      .map(([name, value]) => markup`<dt>${name}</dt><dd>${value}</dd>\n`);
    const settings = FIELD_NAMES.map((name) => [
      unbroken(wordText([setting(name)], words)),
      valueText(configuration[name]),
      unbroken(wordText(FIELDS[name].help, words)),
    ]);
    const rows = folders.map((summary) => [
      ...[
        summary.folder,
        summary.nodes,
        spent(summary.seconds),
        folderSpeed(summary),
        summary.files,
        unbrokenBytes(summary.bytes),
      ],
    ]);
    const head = ["folder", "parts made", "time", "speed", "files", "size"];
    return [
      markup`<dl>\n${reported}</dl>\n`,
      foldedTable(
        { head: ["setting", "value", "meaning"], rows: settings },
        "Settings",
        "All settings",
      ),
      foldedTable({ head, rows }, "Folders", "What is made"),
    ];
  },
};

/**
 * Stages that other settings, inputs or revisions would make anew, or that are damaged, and why.
 */
export const outOfDateSection: Section<{ outOfDate: readonly Lack[]; words?: Words }> = {
  id: "out-of-date",
  title: "What is not up to date",
  parts: ({ outOfDate, words }) => {
    if (outOfDate.length === 0) return null;
    const rows = outOfDate.map((lack) => [
      ...[stagesText(lack), lack.state],
      markup`<code>${unbroken(wordText([lack.command], words))}</code>`,
      lack.because === undefined ? null : wordText(lack.because, words),
    ]);
    const head = ["stage", "it is", "made by", "why"];
    return [
      markup`<p>What this page says of these stages is not of the run as it is now.</p>\n`,
      htmlTable({ head, rows }, "Stages that are not up to date"),
    ];
  },
};
