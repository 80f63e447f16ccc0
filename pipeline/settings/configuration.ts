/**
 * Holds the one table of everything that can be set. The same rows read flags, check values, print `--help`, fill
 * `config.json` and the presets, and say which stages a changed value concerns.
 *
 * @module
 */

import * as v from "valibot";
import { formsText } from "../../kernels/variants.ts";
import paper1300 from "../../fixtures/presets/paper-1.3b.json" with { type: "json" };
import paper335 from "../../fixtures/presets/paper-335m.json" with { type: "json" };
import small from "../../fixtures/presets/small.json" with { type: "json" };
import tiny from "../../fixtures/presets/tiny.json" with { type: "json" };

/** Names the stages of a partition, in their order. */
export const STAGES: readonly Stage[] = [
  "corpus",
  "tokenizer",
  "tokenize",
  "train-routers",
  "score",
  "assign",
  "split",
];

/** Names a stage of a partition. */
export type Stage = "corpus" | "tokenizer" | "tokenize" | "train-routers" | "score" | "assign" | "split";

/** Holds every value that a result depends on. Symbols in brackets are those of the paper. */
export interface Configuration {
  /** Files, globs, or `-`; none means the embedded corpus. */
  input: string[];
  /** Format of the input, or `auto`. */
  format: string;
  /** JSON field with a document's text. */
  textField: string;
  /** JSON field with a document's source. */
  sourceField: string;
  /** Parquet column with a document's text. */
  textColumn: string;
  /** Most documents to read; 0 for all. */
  maxDocuments: number;
  /** Which embedded corpus to read where no input is named. */
  corpus: string;
  /** Characters per source of the embedded corpus. */
  corpusCharacters: number;
  /** A tokenizer.json to use; "" trains one. */
  tokenizer: string;
  /** Entries of the tokenizer that is trained `[V]`. */
  vocabularySize: number;
  /** Characters of training documents that the tokenizer is trained on. */
  tokenizerSample: number;
  /** Token that closes a document; "" finds it. */
  eos: string;
  /** Tokens in a sequence `[S]`. */
  sequenceLength: number;
  /** How documents become sequences. */
  packing: string;
  /** Most tokens to take; 0 for all. */
  maxTokens: number;
  /** Share of the documents held out for testing. */
  holdout: number;
  /** Sequences in a token shard. */
  shardSequences: number;
  /** A folder of trained routers to use; "" trains them. */
  routers: string;
  /** Experts, and as many routers `[E]`. */
  experts: number;
  /** Tokens of the routing prefix `[M]`. */
  prefix: number;
  /** Prefix lengths that routers train on, mixed; none means `prefix` alone. */
  prefixLengths: number[];
  /** Width of a router `[H]`. */
  routerHidden: number;
  /** Layers of a router `[L]`. */
  routerLayers: number;
  /** Attention heads of a router. */
  routerHeads: number;
  /** EM rounds `[T]`. */
  rounds: number;
  /** Sequences per router and round `[N / E]`. */
  roundSequences: number;
  /** Sequences in a router's training batch. */
  routerBatch: number;
  /** Learning rate of the routers. */
  routerRate: number;
  /** Steps over which the routers' rate rises to its value. */
  routerWarmup: number;
  /** Largest global norm of a gradient. */
  clip: number;
  /** AdamW's decay of the first moment. */
  beta1: number;
  /** AdamW's decay of the second moment. */
  beta2: number;
  /** AdamW's epsilon. */
  epsilon: number;
  /** AdamW's weight decay. */
  weightDecay: number;
  /** Sequences scored at a time; 0 chooses. */
  scoreBatch: number;
  /** `balanced`, or `argmax` for no balancing. */
  method: string;
  /** Sequences assigned together; 0 chooses. */
  chunk: number;
  /** Width of an expert. */
  expertHidden: number;
  /** Layers of an expert. */
  expertLayers: number;
  /** Attention heads of an expert. */
  expertHeads: number;
  /** Sequences in an expert's training batch. */
  expertBatch: number;
  /** Learning rate of the experts at its peak. */
  expertRate: number;
  /** Steps over which the experts' rate rises to its peak. */
  expertWarmup: number;
  /** Learning rate of the dense baseline of equal steps at its peak; 0 takes the experts'. */
  denseRate: number;
  /** Learning rate of the dense baseline of E times the steps at its peak; 0 takes the experts'. */
  denseStepsRate: number;
  /** Share of the peak rate that is left at the last step. */
  expertFinalRate: number;
  /** Training steps of an expert. */
  expertSteps: number;
  /** Tokens that an expert trains on, padding included; 0 goes by `expertSteps`. */
  expertTokens: number;
  /** Passes over an expert's sequences; 0 goes by `expertSteps`. */
  expertEpochs: number;
  /** Sequences that run through an expert at once; 0 for the whole batch. */
  microBatch: number;
  /** Steps between two lines of an expert's metrics. */
  logEvery: number;
  /** Steps between two validations of an expert; 0 validates at the end alone. */
  validateEvery: number;
  /** Held-out sequences that a validation reads at most. */
  validationSequences: number;
  /** A checkpoint folder to start from; "" starts from new weights. */
  init: string;
  /** Numbers that activations, and the matrices that products read, are stored in while experts train. */
  dtype: string;
  /** Numbers that the weights of checkpoints are written in. */
  saveDtype: string;
  /** Seed of everything random. */
  seed: number;
}

/** Describes one thing that can be set. */
export interface Field {
  /** Flag on the command line, without dashes. */
  flag: string;
  /** Kind of its value; `texts` and `integers` are lists. */
  type: "integer" | "number" | "text" | "choice" | "texts" | "integers" | "boolean";
  /** What stands for the value in the help. */
  value?: string;
  /** Smallest value. */
  min?: number;
  /** Largest value. */
  max?: number;
  /** The values of a `choice`. */
  choices?: readonly string[];
  /** Value where none is given. */
  default: string | number | boolean | readonly string[] | readonly number[];
  /** Heading in the help. */
  section: string;
  /** Tasks that take it, besides `partition`, which takes all of a stage. */
  tasks: readonly string[];
  /** Stages whose outputs depend on it. */
  stages: readonly Stage[];
  /** One line of help. */
  help: string;
}

type Row = Omit<Field, "section" | "tasks" | "stages"> & {
  tasks?: readonly string[];
  stages?: readonly Stage[];
};

function section<Name extends string>(
  title: string,
  stages: readonly Stage[],
  rows: Record<Name, Row>,
): Record<Name, Field> {
  const fields = Object.entries<Row>(rows).map(([name, row]) => {
    const own = row.stages ?? stages;
    return [name, { ...row, section: title, stages: own, tasks: row.tasks ?? own }];
  });
  return Object.fromEntries(fields);
}

const MOST = Number.MAX_SAFE_INTEGER;
const EXPERT_TASKS = ["train-expert", "train-dense", "reproduce"];

/** Describes every field of a configuration. */
export const FIELDS: { readonly [Name in keyof Configuration]: Field } = {
  ...section("Text", ["corpus"], {
    input: {
      flag: "input",
      type: "texts",
      value: "PATH",
      default: [],
      help: "file, glob or - (standard input); may be repeated; none reads the embedded corpus",
    },
    format: {
      flag: "format",
      type: "choice",
      value: "FORMAT",
      choices: [
        "auto",
        "txt",
        "txt.gz",
        "txt.zst",
        "jsonl",
        "jsonl.gz",
        "jsonl.zst",
        "ndjson",
        "ndjson.gz",
        "ndjson.zst",
        "parquet",
      ],
      default: "auto",
      tasks: ["corpus", "tokenize"],
      help: "txt, jsonl, ndjson (also with .gz or .zst) or parquet; auto goes by the file name",
    },
    textField: {
      flag: "text-field",
      type: "text",
      value: "NAME",
      default: "text",
      tasks: ["corpus", "tokenize"],
      help: "JSON field with a document's text",
    },
    sourceField: {
      flag: "source-field",
      type: "text",
      value: "NAME",
      default: "",
      tasks: ["corpus", "tokenize"],
      help: "JSON field or Parquet column with a document's source, a label that no model sees",
    },
    textColumn: {
      flag: "text-column",
      type: "text",
      value: "NAME",
      default: "",
      tasks: ["corpus", "tokenize"],
      help: "Parquet column with a document's text; without it that of --text-field",
    },
    maxDocuments: {
      flag: "max-documents",
      type: "integer",
      min: 0,
      max: MOST,
      default: 0,
      tasks: ["corpus", "tokenize"],
      help: "most documents to read; 0 for all",
    },
    corpus: {
      flag: "corpus",
      type: "choice",
      choices: ["default", "wide"],
      default: "default",
      help: "embedded corpus to read without --input: default has six kinds of text, wide eleven",
    },
    corpusCharacters: {
      flag: "corpus-characters",
      type: "integer",
      min: 1000,
      max: MOST,
      default: 800_000,
      help: "characters per source of the embedded corpus",
    },
  }),
  ...section("Tokens", ["tokenize"], {
    tokenizer: {
      flag: "tokenizer",
      type: "text",
      value: "FILE",
      default: "",
      stages: [],
      tasks: ["tokenizer", "tokenize", "show"],
      help: "a tokenizer.json to use; without it one is trained",
    },
    vocabularySize: {
      flag: "vocab-size",
      type: "integer",
      min: 258,
      max: 1_048_576,
      default: 1024,
      stages: ["tokenizer"],
      help: "entries of the BPE tokenizer that is trained [V]",
    },
    tokenizerSample: {
      flag: "tokenizer-sample",
      type: "integer",
      min: 1000,
      max: MOST,
      default: 16_000_000,
      stages: ["tokenizer"],
      help: "characters of training documents that the tokenizer is trained on",
    },
    eos: {
      flag: "eos",
      type: "text",
      value: "TOKEN",
      default: "",
      help: "token that closes a document, where the tokenizer has no obvious one",
    },
    sequenceLength: {
      flag: "sequence-length",
      type: "integer",
      min: 2,
      max: 65_536,
      default: 128,
      help: "tokens in a sequence [S]",
    },
    packing: {
      flag: "packing",
      type: "choice",
      choices: ["document", "concat"],
      default: "document",
      help: "document: a sequence never crosses documents; concat: it may",
    },
    maxTokens: {
      flag: "max-tokens",
      type: "integer",
      min: 0,
      max: MOST,
      default: 0,
      help: "most tokens to take; 0 for all",
    },
    holdout: {
      flag: "holdout",
      type: "number",
      min: 0,
      max: 0.9,
      default: 0.1,
      stages: ["tokenizer", "tokenize"],
      help: "share of the documents held out for testing",
    },
    shardSequences: {
      flag: "shard-sequences",
      type: "integer",
      min: 1,
      max: 16_777_216,
      default: 4096,
      stages: ["tokenize", "assign", "split"],
      help: "most sequences in a shard",
    },
  }),
  ...section("Routers", ["train-routers"], {
    routers: {
      flag: "routers",
      type: "text",
      value: "FOLDER",
      default: "",
      stages: [],
      tasks: ["score"],
      help: "trained routers to use; without it they are trained",
    },
    experts: {
      flag: "experts",
      type: "integer",
      min: 1,
      max: 65_535,
      default: 4,
      stages: ["train-routers"],
      help: "experts, and as many routers [E]",
    },
    prefix: {
      flag: "prefix",
      type: "integer",
      min: 2,
      max: 65_536,
      default: 64,
      stages: ["train-routers", "score"],
      help: "tokens of the routing prefix [M]",
    },
    prefixLengths: {
      flag: "prefix-lengths",
      type: "integers",
      value: "M,M,…",
      min: 2,
      max: 65_536,
      default: [],
      help: "train routers on a seeded mix of these prefix lengths",
    },
    routerHidden: {
      flag: "router-hidden",
      type: "integer",
      min: 2,
      max: 65_536,
      default: 32,
      help: "width of a router [H], an even multiple of its heads",
    },
    routerLayers: {
      flag: "router-layers",
      type: "integer",
      min: 1,
      max: 1024,
      default: 2,
      help: "layers of a router [L]",
    },
    routerHeads: {
      flag: "router-heads",
      type: "integer",
      min: 1,
      max: 1024,
      default: 2,
      help: "attention heads of a router",
    },
    rounds: { flag: "rounds", type: "integer", min: 1, max: MOST, default: 12, help: "EM rounds [T]" },
    roundSequences: {
      flag: "round-sequences",
      type: "integer",
      min: 1,
      max: MOST,
      default: 256,
      help: "sequences per router and round [N / E]",
    },
    routerBatch: {
      flag: "router-batch",
      type: "integer",
      min: 1,
      max: 65_536,
      default: 16,
      help: "sequences in a router's training batch",
    },
    routerRate: {
      flag: "router-rate",
      type: "number",
      min: 0,
      max: 1,
      default: 4e-3,
      help: "learning rate of the routers, constant after the warm-up",
    },
    routerWarmup: {
      flag: "router-warmup",
      type: "integer",
      min: 0,
      max: MOST,
      default: 50,
      help: "steps over which the rate rises to its value",
    },
  }),
  ...section("Optimiser", ["train-routers"], {
    clip: {
      flag: "clip",
      type: "number",
      min: 1e-9,
      max: MOST,
      default: 1,
      help: "largest global norm of a gradient",
    },
    beta1: {
      flag: "beta1",
      type: "number",
      min: 0,
      max: 0.999999,
      default: 0.9,
      help: "AdamW's decay of the first moment",
    },
    beta2: {
      flag: "beta2",
      type: "number",
      min: 0,
      max: 0.999999,
      default: 0.99,
      help: "AdamW's decay of the second moment",
    },
    epsilon: { flag: "epsilon", type: "number", min: 1e-30, max: 1, default: 1e-8, help: "AdamW's epsilon" },
    weightDecay: {
      flag: "weight-decay",
      type: "number",
      min: 0,
      max: 1,
      default: 0.1,
      help: "AdamW's weight decay, on matrices",
    },
  }),
  ...section("Assignment", ["assign"], {
    scoreBatch: {
      flag: "score-batch",
      type: "integer",
      min: 0,
      max: 65_536,
      default: 0,
      stages: ["score"],
      help: "sequences scored at a time; 0 chooses",
    },
    method: {
      flag: "method",
      type: "choice",
      choices: ["balanced", "argmax"],
      default: "balanced",
      help: "balanced: equal loads; argmax: every sequence to its best expert",
    },
    chunk: {
      flag: "chunk",
      type: "integer",
      min: 0,
      max: MOST,
      default: 0,
      help: "sequences assigned together [N], a multiple of the experts; 0 is about 65,536",
    },
  }),
  ...section("Experts", [], {
    expertHidden: {
      flag: "expert-hidden",
      type: "integer",
      min: 2,
      max: 65_536,
      default: 64,
      tasks: EXPERT_TASKS,
      help: "width of an expert",
    },
    expertLayers: {
      flag: "expert-layers",
      type: "integer",
      min: 1,
      max: 1024,
      default: 2,
      tasks: EXPERT_TASKS,
      help: "layers of an expert",
    },
    expertHeads: {
      flag: "expert-heads",
      type: "integer",
      min: 1,
      max: 1024,
      default: 4,
      tasks: EXPERT_TASKS,
      help: "attention heads of an expert",
    },
    expertBatch: {
      flag: "expert-batch",
      type: "integer",
      min: 1,
      max: 65_536,
      default: 16,
      tasks: EXPERT_TASKS,
      help: "sequences in an expert's training batch",
    },
    expertRate: {
      flag: "expert-rate",
      type: "number",
      min: 0,
      max: 1,
      default: 3e-3,
      tasks: EXPERT_TASKS,
      help: "learning rate of the experts at its peak",
    },
    expertWarmup: {
      flag: "expert-warmup",
      type: "integer",
      min: 0,
      max: MOST,
      default: 50,
      tasks: EXPERT_TASKS,
      help: "steps over which the experts' rate rises to its peak",
    },
    denseRate: {
      flag: "dense-rate",
      type: "number",
      min: 0,
      max: 1,
      default: 0,
      tasks: ["train-dense", "reproduce"],
      help: "learning rate of the dense model with E times the batch at its peak; 0 takes the experts'",
    },
    denseStepsRate: {
      flag: "dense-steps-rate",
      type: "number",
      min: 0,
      max: 1,
      default: 0,
      tasks: ["train-dense", "reproduce"],
      help: "learning rate of the dense model with E times the steps at its peak; 0 takes the experts'",
    },
    expertFinalRate: {
      flag: "expert-final-rate",
      type: "number",
      min: 0,
      max: 1,
      default: 0.1,
      tasks: EXPERT_TASKS,
      help: "share of the peak rate that the cosine decay ends at",
    },
    expertSteps: {
      flag: "expert-steps",
      type: "integer",
      min: 1,
      max: MOST,
      default: 400,
      tasks: EXPERT_TASKS,
      help: "training steps of an expert",
    },
    expertTokens: {
      flag: "tokens",
      type: "integer",
      min: 0,
      max: MOST,
      default: 0,
      tasks: EXPERT_TASKS,
      help: "tokens that an expert trains on, instead of --expert-steps; 0 goes by the steps",
    },
    expertEpochs: {
      flag: "epochs",
      type: "number",
      min: 0,
      max: 1_000_000,
      default: 0,
      tasks: EXPERT_TASKS,
      help: "passes over an expert's sequences, instead of --expert-steps; 0 goes by the steps",
    },
    microBatch: {
      flag: "micro-batch",
      type: "integer",
      min: 0,
      max: 65_536,
      default: 0,
      tasks: EXPERT_TASKS,
      help: "sequences that run at once, gradients summed up over the batch; 0 for the whole batch",
    },
    logEvery: {
      flag: "log-every",
      type: "integer",
      min: 1,
      max: MOST,
      default: 10,
      tasks: EXPERT_TASKS,
      help: "steps between two lines of metrics",
    },
    validateEvery: {
      flag: "validate-every",
      type: "integer",
      min: 0,
      max: MOST,
      default: 100,
      tasks: EXPERT_TASKS,
      help: "steps between two validations; 0 validates at the end alone",
    },
    validationSequences: {
      flag: "validation-sequences",
      type: "integer",
      min: 0,
      max: MOST,
      default: 256,
      tasks: EXPERT_TASKS,
      help: "held-out sequences that a validation reads at most; 0 for none",
    },
    init: {
      flag: "init",
      type: "text",
      value: "FOLDER",
      default: "",
      tasks: EXPERT_TASKS,
      help: "checkpoint folder (GPTNeoXForCausalLM) to start from; without it from new weights",
    },
    dtype: {
      flag: "dtype",
      type: "choice",
      choices: ["f32", "bf16"],
      default: "f32",
      tasks: EXPERT_TASKS,
      help:
        "what experts train in; bf16 stores activations in half the bytes; their weights are f32, as are evaluation and generation",
    },
    saveDtype: {
      flag: "save-dtype",
      type: "choice",
      choices: ["f32", "f16", "bf16"],
      default: "f32",
      tasks: EXPERT_TASKS,
      help: "numbers that the final weights are written in",
    },
  }),
  ...section("Run", [], {
    seed: {
      flag: "seed",
      type: "integer",
      min: 0,
      max: MOST,
      default: 0,
      stages: ["tokenizer", "tokenize", "train-routers"],
      help: "seed of everything random",
    },
  }),
};

/** Names the fields of a configuration. */
export const FIELD_NAMES: readonly (keyof Configuration)[] = Object.keys(FIELDS) as (keyof Configuration)[];

/** Holds the presets: sets of values by name. */
export const PRESETS: Readonly<Record<string, Partial<Configuration>>> = {
  tiny,
  small,
  "paper-335m": paper335,
  "paper-1.3b": paper1300,
};

const PIPES = ["tokenize", "score", "assign"];
const TRAINING = ["train-expert", "train-dense"];
const IN_A_RUN = ["partition", ...STAGES, ...TRAINING, "reproduce"];

/**
 * Holds what a command can be told besides the configuration; nothing that is written depends on it, but for how an adapter
 * and its forms of kernels round.
 */
export const OPTIONS: Readonly<Record<string, Field>> = section("Command", [], {
  run: {
    flag: "run",
    type: "text",
    value: "FOLDER",
    default: "runs/default",
    tasks: [...IN_A_RUN, "verify", "evaluate", "generate", "report"],
    help: "run folder",
  },
  preset: {
    flag: "preset",
    type: "choice",
    choices: Object.keys(PRESETS),
    default: "",
    tasks: [...IN_A_RUN, "cost"],
    help: "set of values to start from; without it those of tiny, or of the run's config.json",
  },
  config: {
    flag: "config",
    type: "text",
    value: "FILE",
    default: "",
    tasks: [...IN_A_RUN, "cost"],
    help: "JSON file with values, for instance another run's config.json; flags override it",
  },
  force: {
    flag: "force",
    type: "boolean",
    default: false,
    tasks: [...IN_A_RUN, "evaluate"],
    help:
      "accept values that differ from the run's config.json and rerun what depends on them; without any, rerun all",
  },
  dryRun: {
    flag: "dry-run",
    type: "boolean",
    default: false,
    tasks: ["partition"],
    help: "print what would run, with estimates of time, disk and memory",
  },
  expert: {
    flag: "expert",
    type: "text",
    value: "N|all",
    default: "",
    tasks: ["train-expert"],
    help: "the expert to train, from 0, or all one after another",
  },
  match: {
    flag: "match",
    type: "choice",
    choices: ["batch", "steps"],
    default: "batch",
    tasks: ["train-dense"],
    help: "E times the experts' batch (the paper's baseline) or E times their steps (harder to beat)",
  },
  checkpointEvery: {
    flag: "checkpoint-every",
    type: "integer",
    min: 0,
    max: MOST,
    default: 200,
    tasks: [...TRAINING, "reproduce"],
    help: "steps between two checkpoints; 0 for none",
  },
  keep: {
    flag: "keep",
    type: "integer",
    min: 1,
    max: 1000,
    default: 2,
    tasks: [...TRAINING, "reproduce"],
    help: "checkpoints that are kept, the latest ones",
  },
  recompute: {
    flag: "recompute",
    type: "boolean",
    default: false,
    tasks: [...TRAINING, "reproduce", "cost"],
    help:
      "keep only layer inputs and compute the rest again: less memory, a forward pass more, the same bits",
  },
  resume: {
    flag: "resume",
    type: "boolean",
    default: false,
    tasks: TRAINING,
    help: "go on from the last checkpoint although values differ from those that it was trained with",
  },
  costRun: {
    flag: "run",
    type: "text",
    value: "FOLDER",
    default: "",
    tasks: ["cost"],
    help: "run folder whose configuration and number of sequences to take",
  },
  flops: {
    flag: "flops",
    type: "number",
    min: 1,
    max: 1e30,
    default: 1e12,
    tasks: ["cost"],
    help: "FLOP/s of the device at its peak",
  },
  utilisation: {
    flag: "utilisation",
    type: "number",
    min: 1e-6,
    max: 1,
    default: 0.4,
    tasks: ["cost"],
    help: "share of the device's peak that is reached",
  },
  part: {
    flag: "part",
    type: "text",
    value: "I/N",
    default: "",
    tasks: ["score"],
    help: "score every N-th shard from the I-th on, so that N processes share a run",
  },
  output: {
    flag: "output",
    type: "text",
    value: "PATH",
    default: "",
    tasks: ["corpus", "tokenizer", ...PIPES, "report"],
    help: "file to write instead of standard output or the run",
  },
  plots: {
    flag: "plots",
    type: "text",
    value: "FOLDER",
    default: "",
    tasks: ["report"],
    help: "folder that gets each plot as an SVG file of its own as well",
  },
  adapter: {
    flag: "adapter",
    type: "text",
    value: "NAME",
    default: "",
    tasks: ["partition", "train-routers", "score", ...TRAINING, "evaluate", "generate", "reproduce"],
    help: "high-performance, low-power, or part of the name that the adapter must have",
  },
  variants: {
    flag: "variants",
    type: "text",
    value: "KERNEL=FORM,…",
    default: "",
    tasks: ["partition", "train-routers", "score", ...TRAINING, "evaluate", "generate", "reproduce"],
    help: `forms of kernels to run instead of the adapter's own: ${formsText()}`,
  },
  resamples: {
    flag: "resamples",
    type: "integer",
    min: 1,
    max: 1_000_000,
    default: 1000,
    tasks: ["evaluate"],
    help: "draws of the bootstrap over documents that the intervals come from",
  },
  limit: {
    flag: "limit",
    type: "integer",
    min: 1,
    max: MOST,
    default: 10,
    tasks: ["show"],
    help: "most rows to print",
  },
  prompt: {
    flag: "prompt",
    type: "text",
    value: "TEXT",
    default: "-",
    tasks: ["generate"],
    help: "text to continue; - is standard input, without its last line break",
  },
  chosenExpert: {
    flag: "expert",
    type: "integer",
    min: 0,
    max: 65_534,
    default: "",
    tasks: ["generate"],
    help: "expert to use instead of the routers' choice",
  },
  model: {
    flag: "model",
    type: "text",
    value: "FOLDER",
    default: "",
    tasks: ["generate"],
    help: "checkpoint to use instead of a run's experts, for instance runs/a/dense",
  },
  temperature: {
    flag: "temperature",
    type: "number",
    min: 0,
    max: 1000,
    default: 0.8,
    tasks: ["generate"],
    help: "what logits are divided by; 0 takes the likeliest token",
  },
  topK: {
    flag: "top-k",
    type: "integer",
    min: 0,
    max: MOST,
    default: 0,
    tasks: ["generate"],
    help: "choose among that many likeliest tokens; 0 for all",
  },
  topP: {
    flag: "top-p",
    type: "number",
    min: 1e-9,
    max: 1,
    default: 1,
    tasks: ["generate"],
    help: "choose among the fewest tokens with that much probability",
  },
  generationSeed: {
    flag: "seed",
    type: "integer",
    min: 0,
    max: MOST,
    default: 0,
    tasks: ["generate"],
    help: "seed of the choice; the same seed gives the same text",
  },
  maxNewTokens: {
    flag: "max-new-tokens",
    type: "integer",
    min: 1,
    max: MOST,
    default: 200,
    tasks: ["generate"],
    help: "most tokens to add",
  },
  stop: {
    flag: "stop",
    type: "texts",
    value: "TEXT",
    default: [],
    tasks: ["generate"],
    help: "text to stop before; may be repeated",
  },
  window: {
    flag: "window",
    type: "boolean",
    default: false,
    tasks: ["generate"],
    help: "beyond the model's context, go on from the context's later half; without it the text ends there",
  },
  noCache: {
    flag: "no-cache",
    type: "boolean",
    default: false,
    tasks: ["generate"],
    help: "read the whole text again for every token; slower, the same text",
  },
  json: {
    flag: "json",
    type: "boolean",
    default: false,
    tasks: [...IN_A_RUN, "verify", "show", "evaluate", "generate", "cost", "report"],
    help: "print the result as JSON",
  },
  verbose: {
    flag: "verbose",
    type: "boolean",
    default: false,
    tasks: [...IN_A_RUN, "verify", "show", "evaluate", "generate", "cost", "report"],
    help: "print where an error comes from",
  },
});

/** Fields that a cost depends on. */
const COSTED: readonly string[] = [
  "vocabularySize",
  "sequenceLength",
  "routers",
  "experts",
  "prefix",
  "prefixLengths",
  "routerHidden",
  "routerLayers",
  "routerHeads",
  "rounds",
  "roundSequences",
  "routerBatch",
  "expertHidden",
  "expertLayers",
  "expertHeads",
  "expertBatch",
  "expertSteps",
  "expertTokens",
  "expertEpochs",
  "microBatch",
  "dtype",
] satisfies (keyof Configuration)[];

/** Lists what a task takes, by name: fields of the configuration, then options. */
export function fieldsOf(task: string): Record<string, Field> {
  const taken = ([name, field]: [string, Field]) =>
    field.tasks.includes(task) || (task === "cost" && COSTED.includes(name)) ||
    (["partition", "reproduce"].includes(task) && (field.stages.length > 0 || field.tasks.some(isStage)));
  const fields = Object.entries(FIELDS).filter(taken);
  const options = Object.entries(OPTIONS).filter(([, field]) => field.tasks.includes(task));
  return Object.fromEntries([...fields, ...options]);
}

const isStage = (name: string): boolean => (STAGES as readonly string[]).includes(name);

/** Gives the values that hold where nothing else is said: those of the preset `tiny`. */
export function defaultConfiguration(): Configuration {
  return Object.fromEntries(
    FIELD_NAMES.map((name) => [name, structuredClone(FIELDS[name].default)]),
  ) as unknown as Configuration;
}

/** Says in words what values a field takes, as in "an integer from 1 to 65535". */
export function requirement(field: Field): string {
  switch (field.type) {
    case "integer":
      return `an integer ${range(field)}`;
    case "number":
      return `a number ${range(field)}`;
    case "integers":
      return `integers ${range(field)}, separated by commas`;
    case "choice":
      return `one of ${field.choices!.join(", ")}`;
    case "texts":
      return "a list of texts";
    case "boolean":
      return "true or false";
    case "text":
      return "a text";
  }
}

function range({ min, max }: Field): string {
  return max === MOST || max === undefined ? `of at least ${min}` : `from ${min} to ${max}`;
}

/** Reads a flag's text as the field's kind of value; what is no number comes back as it is, for `checkValue` to refuse. */
export function parseValue(field: Field, text: string): unknown {
  const number = (part: string) => part.trim() === "" || Number.isNaN(Number(part)) ? part : Number(part);
  if (field.type === "integer" || field.type === "number") return number(text);
  if (field.type === "integers") return text === "" ? [] : text.split(",").map(number);
  return text;
}

/** Checks a value against its field: `TypeError` for the wrong kind, `RangeError` for a value that it may not have. */
export function checkValue(field: Field, value: unknown): void {
  const kind = v.safeParse(kindOf(field), value).success;
  if (kind && v.safeParse(schemaOf(field), value).success) return;
  const message = `Cannot use --${field.flag} as it must be ${requirement(field)}: it is ${
    JSON.stringify(value)
  }`;
  throw kind ? new RangeError(message) : new TypeError(message);
}

function kindOf(field: Field): v.GenericSchema {
  if (field.type === "integer" || field.type === "number") return v.number();
  if (field.type === "integers") return v.array(v.number());
  if (field.type === "texts") return v.array(v.string());
  return field.type === "boolean" ? v.boolean() : v.string();
}

function schemaOf(field: Field): v.GenericSchema {
  const { min = -Infinity, max = Infinity } = field;
  const number = v.pipe(v.number(), v.finite(), v.minValue(min), v.maxValue(max));
  const integer = v.pipe(number, v.safeInteger());
  if (field.type === "integer") return integer;
  if (field.type === "number") return number;
  if (field.type === "integers") return v.array(integer);
  if (field.type === "choice") return v.picklist(field.choices!);
  return kindOf(field);
}

/** Says where a configuration's values come from; later ones win. */
export interface Sources {
  /** Values that hold where nothing else is said, for instance those of a run's `config.json`. */
  base?: Partial<Configuration>;
  /** Name of a preset. */
  preset?: string;
  /** Values of a `--config` file. */
  file?: Partial<Configuration>;
  /** Values given on the command line. */
  flags?: Partial<Configuration>;
}

/**
 * Resolves a configuration: defaults, then base, preset, file and flags, each checked. Throws a `TypeError` for a value of the
 * wrong kind or an unknown field, a `RangeError` for one out of range or that does not fit another.
 */
export function resolveConfiguration(
  { base = {}, preset, file = {}, flags = {} }: Sources = {},
): Configuration {
  const configuration = { ...defaultConfiguration(), ...base, ...presetOf(preset), ...file, ...flags };
  for (const [name, value] of Object.entries(configuration)) {
    if (!(name in FIELDS)) {
      throw new TypeError(
        `Cannot use field "${name}" as it must be a known one: the nearest is "${
          nearest(name, FIELD_NAMES)
        }"`,
      );
    }
    checkValue(FIELDS[name as keyof Configuration], value);
  }
  checkTogether(configuration);
  return configuration;
}

/** Gives the values of a preset, none for no name; throws a `RangeError` for an unknown one. */
export function presetOf(name?: string): Partial<Configuration> {
  if (name === undefined) return {};
  if (!Object.hasOwn(PRESETS, name)) {
    throw new RangeError(
      `Cannot use preset "${name}" as it must be one of ${Object.keys(PRESETS).join(", ")}`,
    );
  }
  return PRESETS[name];
}

function checkTogether(c: Configuration): void {
  if (c.prefix > c.sequenceLength) {
    throw new RangeError(
      `Cannot route by a prefix as --prefix must be at most --sequence-length: prefix is ${c.prefix}, ` +
        `sequence-length is ${c.sequenceLength}`,
    );
  }
  const longest = Math.max(0, ...c.prefixLengths);
  if (longest > c.prefix) {
    throw new RangeError(
      `Cannot mix prefix lengths as each must be at most --prefix: the longest is ${longest}, prefix is ${c.prefix}`,
    );
  }
  checkHeads("router", c.routerHidden, c.routerHeads);
  checkHeads("expert", c.expertHidden, c.expertHeads);
  if (c.roundSequences < c.routerBatch) {
    throw new RangeError(
      `Cannot train routers as --round-sequences must be at least --router-batch: round-sequences is ` +
        `${c.roundSequences}, router-batch is ${c.routerBatch}`,
    );
  }
  if (c.chunk % c.experts !== 0) {
    throw new RangeError(
      `Cannot assign in chunks as --chunk must be a multiple of --experts: chunk is ${c.chunk}, experts is ${c.experts}`,
    );
  }
}

function checkHeads(role: string, hidden: number, heads: number): void {
  if (hidden % heads !== 0 || (hidden / heads) % 2 !== 0) {
    throw new RangeError(
      `Cannot build the ${role}s as --${role}-hidden must be an even multiple of --${role}-heads: ${role}-hidden is ` +
        `${hidden}, ${role}-heads is ${heads}`,
    );
  }
}

/** Picks the values that a stage's outputs depend on. */
export function stageConfiguration(configuration: Configuration, stage: Stage): Record<string, unknown> {
  const names = FIELD_NAMES.filter((name) => FIELDS[name].stages.includes(stage));
  return Object.fromEntries(names.map((name) => [name, configuration[name]]));
}

/** Finds the name that takes the fewest edits to become `word`. */
export function nearest(word: string, names: readonly string[]): string {
  return [...names].sort((a, b) => edits(word, a) - edits(word, b))[0] ?? "";
}

/** Counts the insertions, deletions and substitutions between two words (Levenshtein's distance). */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
