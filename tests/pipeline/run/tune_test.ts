import { assert, assertEquals, assertRejects } from "@std/assert";
import { openGpu } from "../../../kernels/device/gpu.ts";
import { InputError } from "../../../kernels/errors.ts";
import { loadCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { readManifest } from "../../../pipeline/graph/mod.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import { fromBatch, readArrow } from "../../../pipeline/rows/arrow.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { jinjaTemplate, SpecialTokens } from "../../../pipeline/serving/server/reading.ts";
import { derive, planDerive } from "../../../pipeline/run/derive.ts";
import { documentRows } from "../../../pipeline/stages/token_rows.ts";
import { readDerivation } from "../../../pipeline/stages/derivation.ts";
import { evaluateRun } from "../../../pipeline/run/evaluate_run.ts";
import { trainDense, trainExpert, trainExperts } from "../../../pipeline/run/models.ts";
import { readStatus } from "../../../pipeline/run/status.ts";
import { verifyRun } from "../../../pipeline/run/verify.ts";
import { PLAIN_CHAT } from "../../../pipeline/text/pairs.ts";
import { loadTokenizer, readChatTemplate } from "../../../pipeline/text/tokenizer.ts";
import { copyFolder, hashes, ok, refused, task } from "../../tasks/support.ts";
import { TOPICS, withPartition } from "./support.ts";

const SETTINGS: Partial<Configuration> = {
  expertHidden: 8,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 4,
  expertSteps: 6,
  expertWarmup: 2,
};

/**
 * Writes pairs: prompts of two words of a topic, and of each the third as its response; as messages
 * every other one.
 */
async function writePairs(
  path: string,
  count: number,
  response = (word: string) => ` ${word}`,
): Promise<void> {
  const lines = Array.from({ length: count }, (_, i) => {
    const words = TOPICS[i % 2];
    const at = (k: number) => words[(i * 3 + k) % 8];
    const prompt = `${at(0)} ${at(1)} ${at(2)} ${i}`;
    const content = response(at(3));
    const messages = [{ role: "user", content: prompt }, { role: "assistant", content }];
    return JSON.stringify(i % 4 < 2 ? { prompt: `${prompt}\n`, response: content } : { messages }) +
      "\n";
  });
  await Deno.writeTextFile(path, lines.join(""));
}

Deno.test("derive() tunes experts on the responses to the prompts that are routed to them, and the dense model on all", () =>
  withPartition(async (from) => {
    const folder = `${from}/..`;
    const run = `${folder}/tuned`;
    const pairs = `${folder}/pairs.jsonl`;
    await trainExperts([0, 1], { run: from, sources: { flags: SETTINGS } });
    await trainDense("batch", { run: from });
    const before = await hashes(from);
    await writePairs(pairs, 80);
    const { experts } = await derive({ run, from, tune: [pairs], epochs: 3 });
    assertEquals(await hashes(from), before);
    for (const { state, sequences: { now } } of experts) {
      assertEquals(state, now === 0 ? "kept" : "tuned");
    }
    assertEquals((await verifyRun(run)).problems, []);
    const { stages } = await readStatus(run);
    assertEquals(
      stages.filter(({ stage, state }) =>
        /^train-(expert|dense$)/.test(stage) && state !== "up to date"
      ),
      [],
    );

    // Of held-out pairs the responses alone count, by whichever expert the prompt is routed to.
    const { tokens, scores } = await evaluateRun({ run });
    const tokenizer = await loadTokenizer(`${run}/tokenizer.json`);
    const gpu = await openGpu();
    let nll = 0;
    let predicted = 0;
    for (const { expert } of experts) {
      for await (const batch of readArrow(`${run}/partition/expert-0${expert}/test-00000.arrow`)) {
        const { rows, tokens, length, begin } = fromBatch(batch);
        if (rows === 0) continue;
        const stride = tokens!.length / rows;
        const { config, weights } = await loadCheckpoint(`${run}/experts/expert-0${expert}`);
        const spans = Array.from(length, (end, row) => ({ begin: begin![row], end }));
        const scorer = createScorer(gpu, {
          config,
          models: [weights],
          batch: rows,
          length: stride,
        });
        nll += (await scorer.score(tokens!, stride, spans)).reduce((a, b) => a + b, 0);
        for (let row = 0; row < rows; row++) {
          const ids = tokens!.subarray(row * stride, row * stride + length[row]);
          const prompt = await tokenizer.decode(ids.slice(0, begin![row]));
          const response = await tokenizer.decode(ids.slice(begin![row]));
          assert(prompt.endsWith("\n") && response.startsWith(" "), `${prompt}${response}`);
          predicted += length[row] - begin![row];
        }
        scorer.close();
      }
    }
    gpu.close();
    assertEquals(tokens, predicted);
    assert(Math.abs(scores.mixture!.perplexity - Math.exp(nll / predicted)) < 1e-3);

    // The template of chats lies in the run and with its models, and writes prompts as they were
    // tuned.
    assertEquals(await readChatTemplate(run), PLAIN_CHAT);
    for (const { expert, state } of experts) {
      const own = await readChatTemplate(`${run}/experts/expert-0${expert}`);
      assertEquals(own, state === "tuned" ? PLAIN_CHAT : undefined);
    }
    const special = new SpecialTokens(tokenizer, await tokenizer.decode([tokenizer.eos]));
    const chat = jinjaTemplate(PLAIN_CHAT, special, "");
    const messages = [{ role: "user", content: "river stone" }, { role: "user", content: "water" }];
    const ids = await chat.encode(messages, (texts) => tokenizer.encode(texts));
    assertEquals(await tokenizer.decode(ids), "river stone\nwater\n");

    // Another response leaves the route as it is, and an expert that is tuned elsewhere has the
    // same bytes.
    const other = `${folder}/other`;
    await writePairs(`${folder}/others.jsonl`, 80, () => " something else");
    await derive({ run: other, from, tune: [`${folder}/others.jsonl`], noTrain: true });
    const routes = async (run: string) => {
      const chosen = new Map<string, number>();
      for (const { expert } of experts) {
        for (const side of ["train", "test"]) {
          for await (
            const batch of readArrow(`${run}/partition/expert-0${expert}/${side}-00000.arrow`)
          ) {
            const { rows, tokens, begin } = fromBatch(batch);
            const stride = tokens!.length / rows;
            for (let row = 0; row < rows; row++) {
              chosen.set(tokens!.subarray(row * stride, row * stride + begin![row]).join(), expert);
            }
          }
        }
      }
      return chosen;
    };
    const chosen = await routes(run);
    assertEquals(chosen.size, 80);
    assertEquals(new Map([...await routes(other)].sort()), new Map([...chosen].sort()));
    const tuned = experts.find(({ state }) => state === "tuned")!.expert;
    const alone = `${folder}/alone`;
    for (
      const place of [
        "tokenizer",
        `partition/expert-0${tuned}`,
        `before/expert-0${tuned}`,
        "derived",
      ]
    ) {
      await Deno.mkdir(`${alone}/partition`, { recursive: true });
      await Deno.mkdir(`${alone}/before`, { recursive: true });
      copyFolder(`${run}/${place}`, `${alone}/${place}`);
    }
    await Deno.copyFile(`${run}/config.json`, `${alone}/config.json`);
    await trainExpert(tuned, { run: alone });
    const weights = async (run: string) =>
      (await readManifest(`${run}/experts/expert-0${tuned}`))!.files["model.safetensors"];
    assertEquals(await weights(alone), await weights(run));

    const longer = () => derive({ run, from, tune: [pairs], epochs: 4 });
    await assertRejects(longer, InputError, "it derives otherwise");

    // Experts that go on from there have seen each pair so often, however often they saw documents.
    await derive({ run: `${folder}/dropped`, from: run, dropExpert: 1, noTrain: true });
    const { passes } = (await readDerivation(`${folder}/dropped`))!.experts[0].trained!;
    assert(passes > 2 && passes < 4, String(passes));

    // The pairs need not be there any more.
    await Deno.remove(pairs);
    assertEquals(
      (await readStatus(run)).stages.find(({ stage }) => stage === "split")!.state,
      "up to date",
    );
  }));

Deno.test("derive() changes a run of pairs further, but refuses documents in it, and to forget or split some", () =>
  withPartition(async (from) => {
    const path = (name: string) => `${from}/../${name}`;
    const pairs = path("pairs.json");
    const more = path("more.jsonl");
    await writePairs(pairs, 80);
    await Deno.writeTextFile(more, '{"text":"river stone"}\n');
    await derive({ run: path("tuned"), from, tune: [pairs], noTrain: true });
    await derive({ run: path("further"), from: path("tuned"), dropExpert: 0, noTrain: true });
    const { grouped, paired } = (await readDerivation(path("further")))!;
    assertEquals({ grouped, paired }, { grouped: { experts: 2, starts: [] }, paired: true });
    const ids: string[] = [];
    for await (const batch of readArrow(`${path("tuned")}/text/documents.arrow`)) {
      ids.push(...documentRows(batch, ["document"]).map(({ document }) => String(document)));
    }
    const changes = [{ forget: { ids: ids.slice(0, 1) } }, { add: [more] }, { newExpert: [more] }, {
      splitExpert: 0,
    }];
    for (const from of [path("tuned"), path("further")]) {
      for (const change of changes) {
        const refused = planDerive({ run: path("none"), from, ...change });
        await assertRejects(() => refused, InputError, "its text must be documents");
      }
    }
  }));

Deno.test("derive() lets fresh routers learn prompts, which cost them less than the old ones and go to all experts", () =>
  withPartition(async (from) => {
    const folder = `${from}/..`;
    const pairs = `${folder}/pairs.jsonl`;
    await writePairs(pairs, 80);
    const before = await hashes(from);
    const tuned = async (name: string, router: "experts" | "fresh") => {
      const run = `${folder}/${name}`;
      await derive({ run, from, tune: [pairs], router, noTrain: true });
      const all: number[] = [];
      for (const { name } of Deno.readDirSync(`${run}/scores`)) {
        for await (const batch of readArrow(`${run}/scores/${name}/train.arrow`)) {
          all.push(...fromBatch(batch).nll!);
        }
      }
      return { run, nll: all, sha256: (await readManifest(`${run}/partitioner`))!.result.routers };
    };
    const [old, fresh, again] = [
      await tuned("old", "experts"),
      await tuned("fresh", "fresh"),
      await tuned("again", "fresh"),
    ];
    assertEquals(await hashes(from), before);
    assertEquals((await verifyRun(fresh.run)).problems, []);
    assertEquals(again.sha256, fresh.sha256);
    const cost = ({ nll }: typeof old) =>
      nll.reduce((sum, own, i) => i % 2 === 0 ? sum + Math.min(own, nll[i + 1]) : sum, 0);
    assert(cost(fresh) < 0.9 * cost(old), `${cost(fresh)} and ${cost(old)}`);
    assert(fresh.nll.length === old.nll.length && fresh.sha256 !== old.sha256);

    // EM on the prompts gives each expert a share of them.
    const sizes = [0, 1].map((expert) =>
      fresh.nll.filter((own, i) => i % 2 === expert && own < fresh.nll[i ^ 1]).length
    );
    assert(Math.min(...sizes) > fresh.nll.length / 2 / 5, `${sizes}`);
  }));

Deno.test("derive() writes messages by the chat template of a run, and refuses one that does not write them as text", () =>
  withPartition(async (from) => {
    const folder = `${from}/..`;
    const pairs = `${folder}/pairs.jsonl`;
    await writePairs(pairs, 40);
    const setTemplate = (chat_template: string) =>
      Deno.writeTextFile(`${from}/tokenizer_config.json`, JSON.stringify({ chat_template }));
    const wrong = [["{{ eos_token }}", "it writes special tokens"], [
      "{{ raise_exception('no') }}",
      'it reports "no"',
    ]];
    for (const [template, text] of wrong) {
      await setTemplate(template);
      await assertRejects(
        () => derive({ run: `${folder}/none`, from, tune: [pairs] }),
        InputError,
        text,
      );
      await assertRejects(() => Deno.stat(`${folder}/none`), Deno.errors.NotFound);
    }
    const template =
      "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }} {% endfor %}reply:";
    await setTemplate(template);
    await derive({ run: `${folder}/tuned`, from, tune: [pairs], noTrain: true });
    assertEquals(await readChatTemplate(`${folder}/tuned`), template);
    const [line] = (await Deno.readTextFile(`${folder}/tuned/text/pairs/00000.jsonl`)).split("\n")
      .slice(2);
    assert(/^user: .* reply: \w+$/.test(JSON.parse(line).text), line);
  }));

Deno.test("pairs that are none are refused with their line, and nothing is written", () =>
  withPartition(async (from) => {
    const path = `${from}/../pairs.jsonl`;
    const good = { prompt: "a ", response: "b" };
    const cases: [unknown, string][] = [
      [{ prompt: "a " }, "line 2, has no response"],
      [{ response: "b" }, "line 2, has no prompt"],
      [{ prompt: "", response: "b" }, "has no prompt"],
      [{ prompt: "a", response: 5 }, "has no response"],
      [{ messages: [{ role: "user", content: "a" }] }, "has no prompt"],
      [{ messages: "a" }, "has no prompt"],
    ];
    for (const [line, text] of cases) {
      await Deno.writeTextFile(
        path,
        [good, line].map((line) => JSON.stringify(line) + "\n").join(""),
      );
      await assertRejects(
        () => planDerive({ run: `${from}/../b`, from, tune: [path] }),
        InputError,
        text,
      );
    }
    await Deno.writeTextFile(path, `${JSON.stringify(good)}\n`.repeat(100));
    const plan = await planDerive({ run: `${from}/../b`, from, tune: [path], epochs: 3 });
    assertEquals(plan.pairs!.count, 100);
    assert(plan.pairs!.steps > 1);
    await Deno.writeTextFile(
      path,
      JSON.stringify({ prompt: "river ".repeat(200), response: "b" }) + "\n",
    );
    await assertRejects(
      () => derive({ run: `${from}/../b`, from, tune: [path] }),
      InputError,
      "a prompt must be shorter",
    );
    const tune = (...args: string[]) => task("tune", ["--from", from, ...args]);
    await refused(tune("--run", `${from}/../c`, "--input", `${path}.none`), path);
    await refused(tune(), "--input must be given");
    await writePairs(path, 12);
    await ok(tune("--run", `${from}/../d`, "--input", path, "--epochs", "1"));

    // Where epochs make no batch of an expert's few pairs, it takes one step.
    await trainExperts([0, 1], { run: from, sources: { flags: { ...SETTINGS, expertBatch: 40 } } });
    const { experts } = await derive({ run: `${from}/../e`, from, tune: [path], epochs: 1 });
    const tuned = experts.filter(({ state }) => state === "tuned");
    assert(tuned.length > 0);
    for (const { expert, sequences: { now } } of tuned) {
      const { result } = (await readManifest(`${from}/../e/experts/expert-0${expert}`))!;
      assert(now! < 40 && result.steps === 1, `${now} pairs, ${result.steps} steps`);
    }
    const replace = [{ expert: 0, from: `${from}/experts/expert-00` }]; // and a run may derive from one with such an expert
    await derive({ run: `${from}/../f`, from: `${from}/../e`, replace });
    await planDerive({ run: `${from}/../g`, from: `${from}/../f`, dropExpert: 1 });
  }));
