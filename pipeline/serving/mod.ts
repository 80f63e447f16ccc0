/**
 * The mixture: models leased within a budget, routing, decoding, sampling; and over HTTP.
 *
 * @module
 */

export { type Change, type Choice, type ChoosingOptions, type Rule } from "./answering.ts";
export { Engine, type Reader } from "./engine.ts";
export {
  branching,
  type BranchingModel,
  decoding,
  type DecodingModel,
  type DecodingOptions,
  type Form,
  type LoadedModel,
  scoring,
  type ScoringModel,
} from "./forms.ts";
export {
  answer,
  type AnswerOptions,
  type ContinueOptions,
  continueTokens,
  type ContinueTokensOptions,
  type Finish,
  generate,
  type GenerateOptions,
  type Generation,
} from "./generate.ts";
export { type Budget, type Held, type Lease, type LeaseCounts } from "./leases.ts";
export {
  createMixture,
  type Mixture,
  type MixtureOptions,
  type MixtureSettings,
  openMixture,
} from "./mixture.ts";
export { type Answering, MIXING } from "./mixing.ts";
export { type MixtureSource, type ModelName, type RunSourceOptions } from "./models.ts";
export { type Queue } from "./queue.ts";
export { type Route } from "./route.ts";
export { type Candidates, candidates, sampleToken, SAMPLING, type Sampling } from "./sampling.ts";
export { type Answered } from "./server/app.ts";
export { readKey, readKeys, serve, type ServeOptions } from "./server/serve.ts";
export { parseUpstreams, type Upstreams } from "./server/addresses.ts";
export { keepToUpstreams } from "./server/permissions.ts";
