import { assert, assertEquals, assertNotEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { loadRouters } from "../../../pipeline/checkpoints/routers.ts";
import { em } from "../../../pipeline/partition/em/partitioner.ts";
import { learn } from "../../../pipeline/stages/learn_routers.ts";
import { readDescription } from "../../../pipeline/partition/folder.ts";
import { hashFile } from "../../../pipeline/run/files.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { inFolder } from "../../tasks/support.ts";
import { contextOf, flags, roundsOf } from "./learn_support.ts";

Deno.test("learn() leaves routers, a state, what they are and metrics, and tells their hashes", () =>
  inFolder(async (folder) => {
    const { context, events } = await contextOf(folder, "a");
    const { outputs, sha256, result } = await learn(context);
    for (const [path, record] of Object.entries(outputs)) {
      assertEquals(await hashFile(`${folder}/a/${path}`), record);
    }
    const names = ["partitioner/partitioner.json", "partitioner/state.safetensors", "metrics/rounds.jsonl"];
    for (const name of [...names, "partitioner/router-01/model.safetensors"]) assert(name in outputs, name);
    assertEquals(await em.identify(context.folder), { sha256, experts: 2 });
    const { experts, prefix, vocabulary, tokenizer, eos } = (await readDescription(context.folder))!;
    assertEquals({ experts, prefix, vocabulary, tokenizer, eos }, {
      experts: 2,
      prefix: 6,
      vocabulary: 13,
      tokenizer: "ab12",
      eos: 0,
    });
    assertEquals((await loadRouters(context.folder)).notes, { tokenizer, prefix, eos });
    assertEquals(roundsOf(events), [1, 2, 3]);
    const lines = (await Deno.readTextFile(`${folder}/a/metrics/rounds.jsonl`)).trim().split("\n");
    assertEquals(lines.map((line) => JSON.parse(line)), result.rounds);
    // Four times two times eight sequences, of 60.
    assert(
      events.some((event) => event.type === "warning" && String(event.message).includes("take 64 sequences")),
    );
  }));

Deno.test("learn() goes on after its last round, with more rounds too, to the same bytes; another key or none begins anew", () =>
  inFolder(async (folder) => {
    const whole = (await learn((await contextOf(folder, "whole")).context)).outputs;
    const fewer = resolveConfiguration({ flags: { ...flags, rounds: 1 } });
    const first = (await learn((await contextOf(folder, "parts", { configuration: fewer })).context)).outputs;
    const model = "partitioner/router-00/model.safetensors";
    assertNotEquals(first[model], whole[model]);

    const ending = new AbortController();
    const stopped = await contextOf(folder, "parts", { signal: ending.signal });
    stopped.context.emit = (event) => {
      if (event.type === "round") ending.abort(new DOMException("enough", "AbortError"));
    };
    await assertRejects(() => learn(stopped.context), DOMException, "enough");
    const last = await contextOf(folder, "parts");
    assertEquals((await learn(last.context)).outputs, whole);
    assertEquals(roundsOf(last.events), [3]);

    const none = await contextOf(folder, "parts");
    assertEquals([(await learn(none.context)).outputs, roundsOf(none.events)], [whole, []]);
    for (const changes of [{ anew: true }, { stateKey: () => "other" }]) {
      const again = await contextOf(folder, "parts", changes);
      await learn(again.context);
      assertEquals(roundsOf(again.events), [1, 2, 3]);
    }
  }));

Deno.test("learn() refuses fewer sequences than experts", () =>
  inFolder(async (folder) => {
    const { context } = await contextOf(folder, "a", {
      tokens: { vocabulary: 13, eos: 0, tokenizer: "ab12", trainSequences: 1 },
    });
    await assertRejects(
      () => learn(context),
      InputError,
      "there are 1, experts is 2; give more text or fewer experts",
    );
  }));
