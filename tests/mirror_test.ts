// `tests/` mirrors the tree: the tests of `pipeline/rows/join.ts` are in `tests/pipeline/rows/join_test.ts`. This test
// holds what CONTRIBUTING.md says of that; a file whose tests are elsewhere is listed here, with the reason.

import { assert, assertEquals } from "@std/assert";
import { dirname, join, relative } from "node:path";
import { ROOT } from "./tasks/support.ts";

/** Source files whose tests are elsewhere. */
interface Elsewhere {
  /** Why. */
  because: string;
  /** The files: each path, with the test file that covers it; undefined where there is nothing to run. */
  files: Record<string, string | undefined>;
}

const ELSEWHERE: Elsewhere[] = [
  {
    because: "forms of a kernel are tested with its other forms, against one reference",
    files: {
      "kernels/attention/attention_subgroup.ts": "tests/kernels/attention/attention_test.ts",
      "kernels/layer_norm/layer_norm_subgroup.ts": "tests/kernels/layer_norm/layer_norm_test.ts",
      "kernels/matmul/matmul_join.ts": "tests/kernels/matmul/matmul_test.ts",
      "kernels/matmul/matmul_subgroup.ts": "tests/kernels/matmul/matmul_test.ts",
      "kernels/matmul/matmul_transposed.ts": "tests/kernels/matmul/matmul_test.ts",
      "kernels/matmul/matmul_transposed_subgroup.ts": "tests/kernels/matmul/matmul_test.ts",
    },
  },
  {
    because: "types and constants, which only what uses them can get wrong",
    files: {
      "pipeline/comparison/comparison.ts": undefined,
      "pipeline/model/config.ts": undefined,
      "pipeline/model/sublayers/sublayer.ts": undefined,
      "pipeline/partition/partitioner.ts": undefined,
      "pipeline/report/section.ts": undefined,
      "pipeline/reproduction/studies/outcome.ts": undefined,
      "pipeline/reproduction/studies/study.ts": undefined,
      "pipeline/rows/ipc/marks.ts": undefined,
      "pipeline/run/version.ts": undefined,
    },
  },
  {
    because: "tables of settings, all of which one test reads",
    files: Object.fromEntries(
      ["assignment", "experts", "larger_dense", "optimiser", "partitioner", "switch", "text", "tokens"].map((
        section,
      ) => [
        `pipeline/settings/${section}.ts`,
        "tests/pipeline/settings/configuration_test.ts",
      ]),
    ),
  },
  {
    because: "parts of a page, tested on whole pages",
    files: Object.fromEntries(
      [
        ...["draw", "plots_evaluation", "plots_routing", "plots_training", "sections"],
        ...["claims", "costs", "partition", "routers", "what_ran", "words"]
          .map((name) => `sections/${name}`),
      ].map((name) => [
        `pipeline/report/${name}.ts`,
        "tests/pipeline/report/report_test.ts",
      ]),
    ),
  },
  {
    because: "parts of a stage, or of what runs several, tested on whole runs",
    files: {
      "pipeline/reproduction/reproduce.ts": "tests/reproduce_test.ts",
      "pipeline/stages/evaluate_parts.ts": "tests/pipeline/stages/evaluate_test.ts",
      "pipeline/stages/evaluate_run.ts": "tests/pipeline/stages/evaluate_test.ts",
      "pipeline/stages/make_model.ts": "tests/pipeline/stages/train_test.ts",
      "pipeline/stages/run_folder.ts": "tests/pipeline/stages/session_test.ts",
      "pipeline/stages/saved_training.ts": "tests/pipeline/stages/train_test.ts",
      "pipeline/stages/session_settings.ts": "tests/pipeline/stages/session_test.ts",
      "pipeline/stages/split.ts": "tests/pipeline/stages/partition_test.ts",
      "pipeline/stages/summary.ts": "tests/pipeline/stages/partition_test.ts",
      "pipeline/stages/train_model.ts": "tests/pipeline/stages/train_test.ts",
      "pipeline/stages/trained_models.ts": "tests/pipeline/stages/evaluate_test.ts",
      "pipeline/stages/training_inputs.ts": "tests/pipeline/stages/train_test.ts",
      "pipeline/stages/training_result.ts": "tests/pipeline/stages/train_test.ts",
      "pipeline/stages/training_target.ts": "tests/pipeline/stages/train_test.ts",
      "pipeline/stages/zero_shot_run.ts": "tests/pipeline/stages/zero_shot_test.ts",
      "pipeline/stages/verify_split.ts": "tests/pipeline/stages/verify_test.ts",
    },
  },
  {
    because: "parts of what another file's tests take as a whole",
    files: {
      "pipeline/evaluation/model_pass.ts": "tests/pipeline/evaluation/evaluate_test.ts",
      "pipeline/model/trainer_group.ts": "tests/pipeline/model/trainer_test.ts",
      "pipeline/run/claims.ts": "tests/pipeline/run/lock_test.ts",
    },
  },
  {
    because: "what several studies share, tested with them",
    files: {
      "pipeline/reproduction/studies/lengths.ts": "tests/pipeline/reproduction/studies/prefix_test.ts",
      "pipeline/reproduction/studies/own_text.ts": "tests/pipeline/reproduction/studies/segments_test.ts",
      "pipeline/reproduction/studies/plots.ts": "tests/pipeline/reproduction/studies/results_test.ts",
    },
  },
  {
    because: "what stands between HTTP and the rest, tested over HTTP",
    files: {},
  },
  {
    because:
      "a worker, what defines the tasks of stages, what lays a comparison out: tested by what uses them",
    files: {
      "pipeline/text/encoder_worker.ts": "tests/pipeline/text/encoders_test.ts",
      "pipeline/text/tokenizer_worker.ts": "tests/pipeline/text/tokenizer_test.ts",
      "tasks/bundle_files.ts": "tests/tasks/bundle_test.ts",
      "tasks/bundle_parts.ts": "tests/tasks/bundle_test.ts",
      "tasks/compare_text.ts": "tests/tasks/compare_test.ts",
      "tasks/slurm_view.ts": "tests/slurm_test.ts",
      "tasks/submit_text.ts": "tests/tasks/local_jobs_test.ts",
      "tasks/stage.ts": "tests/tasks/command_test.ts",
    },
  },
];

/** The tasks of files; `tests/tasks/command_test.ts` tests all that they have in common. */
const { tasks } = JSON.parse(Deno.readTextFileSync(`${ROOT}deno.json`));
const TASK_FILES = Object.keys(tasks).map((name) => `tasks/${name}.ts`).filter((path) =>
  Object.values<{ command: string }>(tasks).some(({ command }) => command.includes(path))
);

/** Lists the TypeScript files under a folder, by their paths in the project. */
function sources(folder: string): string[] {
  return Array.from(Deno.readDirSync(`${ROOT}${folder}`)).flatMap(({ name, isDirectory }) =>
    isDirectory ? sources(`${folder}/${name}`) : name.endsWith(".ts") ? [`${folder}/${name}`] : []
  );
}

const SOURCES = ["kernels", "pipeline", "tasks"].flatMap(sources).filter((path) => !path.endsWith("/mod.ts"));
const TESTS = sources("tests").filter((path) => path.endsWith("_test.ts"));
const mirrorOf = (path: string) => `tests/${path.replace(/\.ts$/, "_test.ts")}`;
const listed = ELSEWHERE.flatMap(({ files }) => Object.keys(files));

Deno.test("every source file has its tests at the mirrored place, or is listed with where they are", () => {
  const without = SOURCES.filter((path) => !TESTS.includes(mirrorOf(path)));
  const unknown = without.filter((path) => !listed.includes(path) && !TASK_FILES.includes(path));
  assertEquals(unknown, [], "write their tests, or list them in tests/mirror_test.ts with the reason");
});

Deno.test("nothing is listed twice, or without need: it is there, and has no test at the mirrored place", () => {
  assertEquals(new Set(listed).size, listed.length);
  assertEquals(listed.filter((path) => !SOURCES.includes(path) || TESTS.includes(mirrorOf(path))), []);
});

const ALL = new Set([...["kernels", "pipeline", "tasks", "tests"].flatMap(sources), "mod.ts"]);

/** Gives the files of the project that a file imports, types included, and those that they import. */
function reachedFrom(file: string, reached = new Set<string>()): Set<string> {
  if (reached.has(file)) return reached;
  reached.add(file);
  const text = Deno.readTextFileSync(`${ROOT}${file}`);
  for (const [, path] of text.matchAll(/(?:\bfrom |\bimport\(|^import |new URL\()"(\.[^"]+\.ts)"/gm)) {
    // Some tests write code that another process runs from the root.
    for (const from of [dirname(file), "."]) {
      const found = relative(ROOT, join(ROOT, from, path));
      if (ALL.has(found)) reachedFrom(found, reached);
    }
  }
  return reached;
}

/** Whether a test runs a file: it imports it, directly or not, or starts tasks in processes of their own. */
function reaches(test: string, path: string): boolean {
  return reachedFrom(test).has(path) ||
    /\b(?:task|taskCommand|serving)\(/.test(Deno.readTextFileSync(`${ROOT}${test}`));
}

Deno.test("a test that is named for a file reaches it", () => {
  const elsewhere = ELSEWHERE.flatMap(({ files }) => Object.entries(files));
  const mirrored = SOURCES.map((path) => [path, mirrorOf(path)]).filter(([, test]) => TESTS.includes(test));
  for (const [path, test] of [...elsewhere, ...mirrored]) {
    if (test === undefined) continue;
    assert(TESTS.includes(test), `${test} is not there`);
    // What stands in for @std is imported by its name in deno.json.
    if (!path!.startsWith("pipeline/std/")) assert(reaches(test, path!), `${test} does not reach ${path}`);
  }
});
