/**
 * The mixture on held-out text and on zero-shot tasks, beside its baselines.
 *
 * @module
 */

export * from "./baselines.ts";
export * from "./bootstrap.ts";
export * from "./choices/harness.ts";
export * from "./choices/prompts.ts";
export * from "./choices/results.ts";
export * from "./choices/score.ts";
export * from "./choices/suite.ts";
export * from "./choices/tasks.ts";
export * from "./documents.ts";
export * from "./evaluate.ts";
export * from "./evaluation.ts";
export * from "./margins.ts";
export * from "./mix.ts";
export * from "./model_pass.ts";
export * from "./routes.ts";
export * from "./rows.ts";
