/**
 * Derives a run from another one: text is added or forgotten, or an expert is replaced, dropped or split. What that does not touch keeps its
 * bytes.
 *
 *   deno task derive --from runs/a --run runs/b --forget 'letters/*.txt'
 */
import { InputError } from "../kernels/errors.ts";
import { field } from "../pipeline/settings/mod.ts";
import { derive, planDerive } from "../pipeline/stages/derive.ts";
import { defineTask } from "./command.ts";
import { deriveText, parseIds, parseReplaced } from "./derive_text.ts";
import { DEVICE, take } from "./options.ts";

export const TASK = await defineTask({
  name: "derive",
  options: {
    ...take("run", "check"),
    from: field.path({ value: "RUN" }, "the run to derive from, which stays as it is"),
    add: field.paths({}, "text to add: a file, pattern or folder; experts go on with it; repeatable"),
    newExpert: field.paths({}, "text to add for an expert and a router of its own; repeatable"),
    forget: field.texts({ value: "PATTERN" }, "documents to forget, by the paths of their files; repeatable"),
    forgetSource: field.texts({ value: "NAME" }, "documents to forget, by their source; repeatable"),
    forgetIds: field.text({ value: "ID,…|FILE" }, "documents to forget, by their ids"),
    routers: field.choice(
      ["keep", "relearn"],
      { default: "keep" },
      "what has seen forgotten text: keep tokenizer and routers, or learn everything again without it",
    ),
    replaceExpert: field.texts(
      { value: "N=FOLDER" },
      "put a checkpoint in the place of an expert; repeatable",
    ),
    dropExpert: field.integer(
      { value: "N", min: 0 },
      "drop an expert: its text goes to the others, which go on with it",
    ),
    splitExpert: field.integer(
      { value: "N", min: 0 },
      "split an expert: two new routers divide its text, and two experts begin with its weights",
    ),
    replay: field.number(
      { min: 0, max: 0.99, default: 0.5 },
      "share of old sequences by which experts learn text that they get",
    ),
    noTrain: field.flag(
      "leave the training of experts to train-expert; next to a dropped one they stay as they are",
    ),
    dryRun: field.flag("print what would be forgotten, kept and trained, and make nothing"),
    ...take("workers", "requireGpu"),
    ...DEVICE,
  },
  run: async ({ options, signal, onEvent, print }) => {
    const { from, forget = [], forgetSource = [], forgetIds, replaceExpert = [], ...how } = options;
    const named = { paths: forget, sources: forgetSource, ids: await parseIds(forgetIds) };
    const replace = replaceExpert.map(parseReplaced);
    if (from === undefined) throw new InputError("Cannot derive as --from must be given: it is not");
    const change = { ...how, from, forget: named, replace };
    if (options.dryRun) {
      const plan = await planDerive(change);
      return print(plan, deriveText(plan));
    }
    const derived = await derive(change, { signal, onEvent });
    print(derived, deriveText(derived));
  },
}, import.meta);
