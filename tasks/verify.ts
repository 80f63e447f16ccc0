/**
 * Verifies a run folder: hashes, counts, and that every sequence is in exactly one expert's shards;
 * with `--against` also that the same bytes were made elsewhere.
 *
 *   deno task verify runs/a --against partition.json
 */
import { countText } from "../pipeline/graph/numbers.ts";
import { ensure, RunError } from "../kernels/errors.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { VerifyReport } from "../pipeline/run/mod.ts";
import { fromHere } from "./cli/arguments.ts";
import { defineTask } from "./cli/command.ts";
import { take } from "./cli/options.ts";
import { worded } from "./cli/wording.ts";

/** Up to so many experts, the load of each is shown. */
const MOST_LOADS = 16;

/** Lays out what a verification found. */
function verifyText(run: string, report: VerifyReport): string {
  const { files, trainSequences, testSequences, loads, parts, problems } = report;
  if (problems.length > 0) {
    return problems.map(({ file, what, remedy }) => `${file}: ${what}; ${remedy}`).join("\n");
  }
  const sequences = `${countText(trainSequences)} training and ${
    countText(testSequences)
  } held-out sequences`;
  const all = `${run}: ${countText(files)} files as their manifests say, ${sequences}`;
  if (parts) {
    const alone = `${parts.length > 1 ? "parts of experts" : "part of expert"} ${parts.join(", ")}`;
    return `${all}; the ${alone} alone, so that nothing tells what the others hold`;
  }
  const range = `of ${loads.length} experts ${countText(Math.min(...loads))} to ${
    countText(Math.max(...loads))
  }`;
  const shown = loads.length > MOST_LOADS ? range : loads.map(countText).join(", ");
  return `${all} in exactly one expert's shards each; loads ${shown}`;
}

export const TASK = await defineTask({
  name: "verify",
  startsAnew: true,
  positional: "[RUN]",
  options: {
    ...take("run"),
    against: field.text(
      { value: "FILE|HASH" },
      "root hash of a partition made elsewhere, or the file that partition --json printed there",
    ),
    forgotten: field.flag(
      "check also that nothing in a derived run is of text that it has forgotten",
    ),
  },
  run: async ({ paths, options, givenNames, signal, print }) => {
    const [place, second = givenNames.has("run") ? "--run" : undefined] = paths;
    const isOne = place === undefined || second === undefined;
    ensure(isOne, `Cannot verify as one run must be named: "${place}" is one, ${second} another`);
    const { against } = options;
    ensure(against !== "", 'Cannot verify as --against must be a file or a hash: it is ""');
    const { certificateText, checkForgotten, comparePartition, verifyRun } = await import(
      "../pipeline/run/mod.ts"
    );
    const run = place ?? options.run;
    const report = await verifyRun(run, () => signal.throwIfAborted());
    const differences = against === undefined
      ? []
      : await comparePartition(run, /^[0-9a-f]{64}$/i.test(against) ? against : fromHere(against));
    const audit = options.forgotten ? await checkForgotten(run) : undefined;
    const problems = [...report.problems, ...differences, ...audit?.problems ?? []]
      .map(({ file, what, remedy }) => ({ file, what: worded(what), remedy: worded(remedy) }));
    const reported = { ...report, problems };
    const { certificate } = audit ?? {};
    const text = audit && certificate && problems.length === 0
      ? `${verifyText(run, reported)}\n\n${certificateText(run, { ...audit, certificate })}`
      : verifyText(run, reported);
    print({ run, ...reported, ...certificate ? { certificate } : {} }, text);
    if (problems.length === 0) return;
    const count = problems.length === 1
      ? "1 problem was found"
      : `${problems.length} problems were found`;
    throw new RunError(`Cannot verify for "${run}" as all must be right: ${count}`);
  },
}, import.meta);
