/**
 * The mixture: models leased within a budget, routing, decoding, sampling; and over HTTP.
 *
 * @module
 */

export { type Change, type Choice, type ChoosingOptions, type Rule } from "./answering.ts";
export { Engine, type Reader } from "./engine.ts";
export { type DecodingModel, type DecodingOptions, type Form, type LoadedModel } from "./forms.ts";
export {
  answer,
  type AnswerOptions,
  type ContinueOptions,
  type Finish,
  generate,
  type GenerateOptions,
  type Generation,
} from "./generate.ts";
export { type Budget, type Held, type Lease, type LeaseCounts } from "./leases.ts";
export { type Mixture, type MixtureOptions, type MixtureSettings, openMixture } from "./mixture.ts";
export { type Answering, MIXING } from "./mixing.ts";
export { type MixtureSource, type ModelName, type RunSourceOptions } from "./models.ts";
export { type Queue } from "./queue.ts";
export { type Route } from "./route.ts";
export { SAMPLING } from "./sampling.ts";
export { readKeys, serve } from "./server/serve.ts";
export { type Answered, type ServeOptions } from "./server/service.ts";
export { keepToUpstreams, parseUpstreams, type Upstreams } from "./server/addresses.ts";
