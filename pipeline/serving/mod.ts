/**
 * The mixture: models leased within a budget, routing, decoding, sampling; and over HTTP.
 *
 * @module
 */

export {
  type Change,
  type Choice,
  type ChoosingOptions,
  type Fallback,
  type Rule,
} from "./answering.ts";
export { type DecodingOptions } from "./forms.ts";
export {
  answer,
  type AnswerOptions,
  type ContinueOptions,
  type Finish,
  generate,
  type GenerateOptions,
  type Generation,
} from "./generate.ts";
export { type Budget, type LeaseCounts } from "./leases.ts";
export { type Mixture, type MixtureOptions, type MixtureSettings, openMixture } from "./mixture.ts";
export { type Answering, MIXING, type Route } from "./mixing.ts";
export { type ModelName, type RunSourceOptions } from "./models.ts";
export { SAMPLING } from "./sampling.ts";
export { readKeys, serve } from "./server/serve.ts";
export type { Answered, ServeOptions } from "./server/service.ts";
export { keepToUpstreams, parseUpstreams, type Upstreams } from "./server/addresses.ts";
