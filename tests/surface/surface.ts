/**
 * Lists the surface that a user has: tasks, flags, keys of JSON, files of a run, columns of Arrow, events,
 * exports and routes, one fact a line, sorted. Most of it comes from running tasks, as small as they can be.
 *
 *   deno task surface > tests/surface/surface.txt   the list, to commit
 *   deno task surface --check                       what is gone (-) and new (+); ends with 1 where any is gone
 */

import { RecordBatchReader } from "apache-arrow";
import { inFolder, ROOT, smallCorpus, task, taskCommand } from "../tasks/support.ts";

const LIST = `${ROOT}tests/surface/surface.txt`;
const facts = new Set<string>();
const holders = new Set<string>(); // of keys: where another value is null or empty, it adds nothing to these
const failures: string[] = [];

/** Replaces what differs between runs: numbers and hashes. */
function plain(name: string): string {
  return name.replace(/[0-9a-f]{16,}/g, "HASH").replace(/(?<![A-Za-z\d])\d+(\.\d+)*/g, "N");
}

/** Notes every path of keys that leads to a value. Keys that name files or tokens count as one. */
function noteKeys(fact: string, value: unknown): void {
  if (typeof value !== "object" || value === null || Object.keys(value).length === 0) {
    facts.add(fact);
    return;
  }
  holders.add(fact);
  if (Array.isArray(value)) return value.forEach((item) => noteKeys(`${fact}[]`, item));
  const entries = Object.entries(value);
  const isIndex = (entries.length > 25 || fact.endsWith("top_logprobs[]")) &&
    entries.every(([, value]) => typeof value === "number");
  for (const [key, value] of entries) {
    const name = isIndex ? "*" : /\/|\.[a-z]+$/.test(key) ? "FILE" : plain(key);
    noteKeys(`${fact}${fact.endsWith(": ") ? "" : "."}${name}`, value);
  }
}

/** Reads a JSON text, or one per line. */
function parsed(text: string): unknown[] {
  try {
    return [JSON.parse(text)];
  } catch {
    return text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
  }
}

/** Notes the events of a log; a server's answers have no type. */
function noteEvents(log: string): void {
  for (const event of parsed(log)) {
    const { type = "answer", ...rest } = event as { type?: string };
    noteKeys(`event ${type}: `, rest);
  }
}

/** Runs a task, and notes the keys of what it prints and tells. No word of a command holds a space. */
async function run(command: string): Promise<void> {
  console.error(`deno task ${command}`);
  const [name, ...args] = command.split(" ");
  const { code, out, err } = await task(name, [...args, "--log", "json"]);
  if (code !== 0) failures.push(`${command}: ${err.trim().split("\n").at(-1)}`);
  for (const value of parsed(out)) noteKeys(`json ${name}: `, value);
  noteEvents(err);
}

/** Runs a task that prints JSON. */
const json = (command: string) => run(`${command} --json`);

/** Files of one kind, whose keys and columns are noted as those of one file. */
const KINDS: [RegExp, string][] = [
  [/(\/manifests|\/outcomes|\/zero-shot)\/.*/, "$1/*"],
  [/^.*\/(?=tokenizer|generation_config)/, "*/"],
  [/^RUN\/.+\/(?=config\.json)/, "MODEL/"],
];

/** Notes the files of a folder, with the keys of JSON and the columns of Arrow; `label` stands for the folder. */
function noteFiles(folder: string, label: string): void {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    const file = `${label}/${plain(name)}`;
    if (isDirectory) {
      noteFiles(path, /-seed-N$/.test(file) ? "RUN" : file); // a study holds runs
      continue;
    }
    facts.add(`file ${file.replace(/[^/]+(-seed-N)/, "*$1")}`);
    const kind = KINDS.reduce((all, [part, by]) => all.replace(part, by), file);
    if (/\.jsonl?$/.test(name)) {
      for (const value of parsed(Deno.readTextFileSync(path))) noteKeys(`key ${kind}: `, value);
    } else if (name.endsWith(".arrow")) {
      const { schema } = RecordBatchReader.from(Deno.readFileSync(path)).open();
      for (const { name, type } of schema.fields) {
        facts.add(`arrow ${kind}: column ${name} ${plain(`${type}`)}`);
      }
      for (const key of schema.metadata.keys()) facts.add(`arrow ${kind}: metadata ${key}`);
    }
  }
}

/** Notes a task's flags as its help tells them: kind, choices, default. */
async function noteFlags(name: string): Promise<void> {
  const { out } = await task(name, ["--help", "all"]);
  const [, positional] = /^Usage: deno task \S+ (.*) ?\[flags\]/.exec(out) ?? [];
  if (positional) facts.add(`flag ${name} ${positional.trim()}`);
  for (const [, flag, value, help] of out.matchAll(/^ {2}--(\S+)(?: (\S+))?(?:\n)? {2,}(.*)$/gm)) {
    const isChoice = value && /^[\w.-]+(\|[\w.-]+)+$/.test(value);
    const many = /\brepeat/.test(help) ? ", repeatable" : "";
    facts.add(`flag ${name} --${flag}${isChoice ? "" : ` ${value ?? ""}`.trimEnd()}${many}`);
    if (isChoice) value.split("|").forEach((choice) => facts.add(`flag ${name} --${flag} choice ${choice}`));
    const [, standard] = / \(default ([^)]+)\)$/.exec(help) ?? [];
    if (standard !== undefined) facts.add(`flag ${name} --${flag} default ${standard}`);
  }
}

/** Notes the names that a flag takes, as the error of a wrong one tells them. */
async function noteNames(command: string): Promise<void> {
  const [name, ...args] = command.split(" ");
  const flag = args.at(-1);
  const { err } = await task(name, [...args, "nope"]);
  const [, names] = /(?:one|some) of (\S+?(?:(?:,? | or )\S+?)*?)(?:, each once)?: /.exec(err) ?? [];
  if (names === undefined) failures.push(`${command} nope: ${err}`);
  for (const choice of names?.split(/,\s*| or /) ?? []) facts.add(`flag ${name} ${flag} choice ${choice}`);
}

/** Notes the exports of `mod.ts`, and the entries of the package. */
async function noteExports(): Promise<void> {
  const { exports } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
  Object.keys(exports).forEach((entry) => facts.add(`entry ${entry}`));
  const doc = new Deno.Command(Deno.execPath(), { args: ["doc", "--json", "mod.ts"], cwd: ROOT });
  const { nodes } = JSON.parse(new TextDecoder().decode((await doc.output()).stdout));
  for (const { symbols } of Object.values<{ symbols: { name: string }[] }>(nodes)) {
    for (const { name } of symbols) facts.add(`export ${name}`);
  }
}

const WORDS = { model: "mixture", prompt: "the sea", max_tokens: 2 };
const CHAT = { model: "mixture", messages: [{ role: "user", content: "the sea" }], max_tokens: 2 };
const PAGES = "/ /health /metrics /v1/models /v1/models/mixture /v1/models/none /tokenizer_info /none";
const REQUESTS: [route: string, body?: Record<string, unknown>][] = [
  ...PAGES.split(" ").map((path): [string] => [path]),
  ["/v1/completions", { ...WORDS, logprobs: 1, echo: true }],
  ["/v1/completions", { ...WORDS, stream: true, stream_options: { include_usage: true } }],
  ["/v1/chat/completions", { ...CHAT, logprobs: true, top_logprobs: 1 }],
  ["/v1/chat/completions", { ...CHAT, stream: true, stream_options: { include_usage: true } }],
  ["/tokenize", { prompt: "the sea" }],
  ["/detokenize", { tokens: [1, 2] }],
];

/** Serves a run and notes what its routes answer. */
async function noteRoutes(folder: string): Promise<void> {
  const args = `--run ${folder} --port 0 --json --log json`.split(" ");
  const server = taskCommand("serve", args).spawn();
  const reported = new Response(server.stderr).text();
  let out = "";
  for await (const text of server.stdout.pipeThrough(new TextDecoderStream())) {
    if ((out += text).includes("}")) break;
  }
  noteKeys("json serve: ", JSON.parse(out));
  const { url } = JSON.parse(out);
  while (!(await fetch(`${url}/health`).then(async (answer) => (await answer.text(), answer.ok)))) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  for (const [path, body] of REQUESTS) {
    const headers = { "content-type": "application/json" };
    const init = body && { method: "POST", body: JSON.stringify(body), headers };
    const answer = await fetch(url + path, init);
    const text = await answer.text();
    const type = answer.headers.get("content-type")?.split(";")[0];
    const route = `http ${body ? "POST" : "GET"} ${path}`;
    facts.add(`${route} ${answer.status} ${type}`);
    if (type === "application/json") noteKeys(`${route}: `, JSON.parse(text));
    for (const [, event] of text.matchAll(/^data: (\{.*)$/gm)) {
      noteKeys(`${route} chunk: `, JSON.parse(event));
    }
    for (const [, metric] of text.matchAll(/^# TYPE (.*)$/gm)) facts.add(`${route}: ${metric}`);
  }
  server.kill("SIGTERM");
  noteEvents(await reported);
}

const SIZE =
  "--vocab-size 300 --sequence-length 64 --prefix 16 --experts 2 --rounds 2 --round-sequences 16 " +
  "--router-hidden 8 --router-layers 1 --router-heads 2 --router-batch 8 --shard-sequences 200";
const MODELS = "--expert-hidden 8 --expert-layers 1 --expert-heads 2 --expert-batch 4 --expert-steps 8 " +
  "--expert-warmup 2 --validate-every 4 --checkpoint-every 2";

/** Partitions the embedded corpus, at once and by a task per stage, and other text by other partitioners. */
async function partitions(folder: string, a: string): Promise<void> {
  await json(`partition --run ${a} --corpus-characters 20000 --holdout 0.2 ${SIZE} --dry-run`);
  await json(`partition --run ${a} --corpus-characters 20000 --holdout 0.2 ${SIZE}`);
  await json(`partition --run ${a}`);
  const text = `--input ${folder}/docs.jsonl --source-field source`;
  for (const [kind, method] of [["ctbm", "optimal"], ["random", "argmax"], ["source", "argmax"]]) {
    const other = `${folder}/${kind}`;
    await json(`partition --run ${other} ${text} ${SIZE} --partitioner ${kind} --method ${method}`);
    noteFiles(other, "RUN");
  }
  const b = `${folder}/b`;
  await json(`corpus --run ${b} --config ${a}/config.json`);
  for (const stage of ["tokenizer", "tokenize", "train-routers", "score", "assign", "split"]) {
    for (const part of ["tokenize", "score", "split"].includes(stage) ? ["1/2", "2/2"] : []) {
      await json(`${stage} --run ${b} --part ${part}`);
      noteFiles(b, "RUN"); // those of parts are gone when they are put together
    }
    await json(`${stage} --run ${b}`);
  }
  const files = `${folder}/files`;
  await Deno.mkdir(files);
  await run(`corpus ${text} --output ${files}/corpus.jsonl`);
  await run(`tokenizer ${files}/corpus.jsonl --vocab-size 300 --output ${files}/tokenizer.json`);
  const tokenizer = `--tokenizer ${a}/tokenizer.json --sequence-length 64`;
  await run(`tokenize ${files}/corpus.jsonl ${tokenizer} --output ${files}/tokens.arrow`);
  await run(`score ${files}/tokens.arrow --routers ${a}/partitioner --output ${files}/scores.arrow`);
  await run(`assign ${files}/scores.arrow --output ${files}/assigned.arrow`);
  noteFiles(files, "--output of FILE");
}

/** Trains every model of a run, and evaluates, reports, exports and cleans it. */
async function models(folder: string, a: string): Promise<void> {
  await json(`train-expert --run ${a} --expert all ${MODELS} --dry-run`);
  await json(`train-expert --run ${a} --expert 0 ${MODELS}`);
  await json(`train-expert --run ${a} --expert all --together`);
  for (const match of ["batch", "steps", "compute"]) await json(`train-dense --run ${a} --match ${match}`);
  for (const name of ["train-switch", "watch", "status", "verify"]) await json(`${name} --run ${a}`);
  await json(`show ${a}/partition/expert-00/train-00000.arrow --limit 2`);
  const mix = "--mix 2 --resamples 20";
  const route = "--reroute 8 --route-by self --fallback dense --margin 0.1";
  await json(`evaluate --run ${a} ${mix} ${route}`);
  await json(`zero-shot --run ${a} ${mix}`);
  await Deno.writeTextFile(`${folder}/piqa.jsonl`, `{"goal":"sea","sol1":"a","sol2":"b","label":1}`);
  await json(`zero-shot --run ${a} ${mix} --data ${folder} --task piqa`);
  for (const how of ["--mix 1", "--mix 2", "--expert 1"]) {
    await json(`generate --run ${a} --prompt sea --max-new-tokens 2 ${how}`);
  }
  await json(`report --run ${a} --plots ${folder}/plots`);
  await json(`compare ${a} ${folder}/b`);
  await noteRoutes(a);
  for (const to of ["megatron", "datasets", "parquet", "text", "safetensors"]) {
    await json(`export --run ${a} --to ${to} --expert all`);
  }
  await json(`export --run ${a} --to text --all-text`);
  await json(`adopt --run ${a} --expert 0 --from ${a}/export/safetensors/expert-00 --force`);
  noteFiles(a, "RUN");
  noteFiles(`${folder}/plots`, "report --plots");
  await json(`clean --run ${a}`);
}

/** Runs what plans and runs many processes, what reproduces, and what tells of machines and costs. */
async function around(folder: string, a: string): Promise<void> {
  const text = `--input ${folder}/docs.jsonl --source-field source ${SIZE} ${MODELS}`;
  const jobs = `${folder}/jobs --dense none --zero-shot none --parts 2 --router-groups 2`;
  await json(`submit --run ${jobs} ${text} --dry-run`);
  await json(`submit --run ${jobs} --executor local --jobs 2 ${text} --dry-run`);
  await json(`submit --run ${jobs} --executor local --jobs 2 ${text}`);
  noteFiles(`${folder}/jobs`, "RUN");
  await json(`reproduce --run ${folder}/one ${text}`);
  noteFiles(`${folder}/one`, "RUN");
  await json(`reproduce --run ${folder}/study ${text} --study all --dry-run`);
  await json(`reproduce --run ${folder}/study ${text} --study assignment`);
  noteFiles(`${folder}/study`, "STUDY");
  const [two, three] = ["optimal", "argmax"].map((name) => `${folder}/study/em-${name}-seed-0`);
  await json(`compare ${two} ${three} --output ${folder}/compare.html`);
  for (const flags of ["--cluster", `--run ${a}`, "--preset tiny"]) await json(`cost ${flags}`);
  await json("doctor --quick");
  await json(`bundle --output ${folder}/bundle.tar`);
}

const { tasks } = JSON.parse(await Deno.readTextFile(`${ROOT}deno.json`));
for (const [name, { command }] of Object.entries<{ command?: string }>(tasks)) {
  if (command === undefined) continue; // a heading
  facts.add(`task ${name}`);
  if (command.includes(` tasks/${name}.ts`)) await noteFlags(name);
}
await noteExports();
await inFolder(async (folder) => {
  Deno.env.set("SMALLTALK_CACHE", `${folder}/cache`);
  await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus(64));
  for (const phase of [partitions, models, around]) {
    await phase(folder, `${folder}/a`).catch((error) => failures.push(`${phase.name}: ${error}`));
  }
  for (const command of ["partition --format", "reproduce --study", "bundle --with"]) {
    await noteNames(command);
  }
  for (const flag of ["--dense", "--zero-shot"]) await noteNames(`submit --run ${folder}/none ${flag}`);
  await noteNames(`zero-shot --run ${folder}/a --data ${folder} --task`);
});

const list = [...facts].filter((fact) => !holders.has(fact)).sort();
failures.forEach((failure) => console.error(`failed: ${failure}`));
if (Deno.args.includes("--check")) {
  const committed = (await Deno.readTextFile(LIST)).trimEnd().split("\n");
  const gone = committed.filter((fact) => !facts.has(fact));
  const was = new Set(committed);
  for (const fact of gone) console.log(`- ${fact}`);
  for (const fact of list) if (!was.has(fact)) console.log(`+ ${fact}`);
  console.error(`${gone.length} of ${committed.length} lines are gone`);
  Deno.exit(gone.length > 0 || failures.length > 0 ? 1 : 0);
}
console.log(list.join("\n"));
Deno.exit(failures.length > 0 ? 1 : 0);
