import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError, wordText } from "../../../kernels/errors.ts";
import {
  decodeSafetensors,
  encodeSafetensors,
  safetensorsMetadata,
} from "../../../pipeline/checkpoints/safetensors.ts";
import { learn, learnShare } from "../../../pipeline/stages/learn_routers.ts";
import type { Member } from "../../../pipeline/partition/em/group.ts";
import type { LearnContext, Learned } from "../../../pipeline/stages/learn_context.ts";
import type { RunEvent } from "../../../pipeline/run/events.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { inFolder } from "../../tasks/support.ts";
import { contextOf, flags, roundsOf } from "./learn_support.ts";

const EXPERTS = 4;
const configuration = resolveConfiguration({ flags: { ...flags, experts: EXPERTS } });

/** Says which routers a member of a group trains: 1, 1 and 2 of four for three of them. */
function memberOf(index: number, of: number, changes: Partial<Member> = {}): Member {
  const [first, end] = [index, index + 1].map((at) => Math.floor(EXPERTS * at / of));
  const rest = { patience: 60, runner: () => Promise.resolve("somebody") };
  return { index, of, first, count: end - first, ...rest, ...changes };
}

/** Learns with all members of a group at once, each with a context of its own, and then puts together what they made. */
async function learnTogether(
  folder: string,
  run: string,
  of: number,
  changes: Partial<LearnContext> = {},
): Promise<{ learned: Learned; events: RunEvent[][] }> {
  const own = [];
  for (let index = 0; index < of; index++) {
    own.push(await contextOf(folder, run, { configuration, ...changes }));
  }
  const results = await Promise.all(
    own.map(({ context }, index) => learnShare(context, memberOf(index, of))),
  );
  const rounds = context(changes).rounds;
  assertEquals(results.map((result) => result.rounds), results.map(() => rounds));
  const last = await contextOf(folder, run, { configuration, ...changes });
  const learned = await learn(last.context);
  assertEquals(roundsOf(last.events), []); // it learns nothing more
  return { learned, events: own.map(({ events }) => events) };
}

const context = ({ configuration: own = configuration }: Partial<LearnContext>) => own;
const namesIn = (folder: string) => [...Deno.readDirSync(folder)].map(({ name }) => name).sort();

Deno.test("learnShare() by groups of two and three, uneven ones, makes the bytes of one process", () =>
  inFolder(async (folder) => {
    const whole = await learn((await contextOf(folder, "whole", { configuration })).context);
    for (const size of [1, 2, 3]) {
      const { learned, events } = await learnTogether(folder, `group-${size}`, size);
      assertEquals(learned.outputs, whole.outputs);
      assertEquals(learned, whole);
      for (const told of events) assertEquals(roundsOf(told), [1, 2, 3]);
    }
    // Scores of the rounds that a member may still need stay, no others.
    assertEquals(
      namesIn(`${folder}/group-3/partitioner/group`).filter((name) => name.startsWith("scores-1")),
      [
        "scores-1-of-3-round-2.safetensors",
        "scores-1-of-3-round-3.safetensors",
      ],
    );
  }));

Deno.test("learnShare() begins with clusters and goes on from one process's state, to the bytes of one process", () =>
  inFolder(async (folder) => {
    const clusters = {
      flags: { ...flags, experts: EXPERTS, start: "ctbm", fixed: true, partitionerSample: 40 },
    } as const;
    const from = resolveConfiguration(clusters);
    const whole = await learn((await contextOf(folder, "clusters", { configuration: from })).context);
    const { learned } = await learnTogether(folder, "clusters-2", 2, { configuration: from });
    assertEquals(learned, whole);

    const fewer = resolveConfiguration({ flags: { ...flags, experts: EXPERTS, rounds: 1 } });
    await learn((await contextOf(folder, "more", { configuration: fewer })).context);
    const more = await learnTogether(folder, "more", 2);
    assertEquals(more.learned, await learn((await contextOf(folder, "whole", { configuration })).context));
    for (const told of more.events) assertEquals(roundsOf(told), [2, 3]);
  }));

Deno.test("a member that was ended goes on from its last round while others wait, to the same bytes", () =>
  inFolder(async (folder) => {
    const whole = await learn((await contextOf(folder, "whole", { configuration })).context);
    const ending = new AbortController();
    const stopped = await contextOf(folder, "run", { configuration, signal: ending.signal });
    stopped.context.emit = ({ type, ...event }) => {
      if (type !== "progress" || !("done" in event) || event.done < 3) return; // in round 2, of two steps each
      ending.abort(new DOMException("enough", "AbortError"));
    };
    const other = await contextOf(folder, "run", { configuration });
    const waiting = learnShare(other.context, memberOf(1, 2));
    await assertRejects(() => learnShare(stopped.context, memberOf(0, 2)), DOMException, "enough");
    const again = await contextOf(folder, "run", { configuration });
    await learnShare(again.context, memberOf(0, 2));
    await waiting;
    assertEquals(roundsOf(again.events), [2, 3]);
    assertEquals(await learn((await contextOf(folder, "run", { configuration })).context), whole);
  }));

Deno.test("a member that was killed between giving its scores and saving its state finds what it needs", () =>
  inFolder(async (folder) => {
    const whole = await learn((await contextOf(folder, "whole", { configuration })).context);
    const group = `${folder}/run/partitioner/group`;
    const share = async (index: number, rounds: number) => {
      const shorter = resolveConfiguration({ flags: { ...flags, experts: EXPERTS, rounds } });
      const { context, events } = await contextOf(folder, "run", { configuration: shorter });
      await learnShare(context, memberOf(index, 2));
      return roundsOf(events);
    };
    await Promise.all([share(0, 1), share(1, 1)]);
    await Deno.copyFile(`${group}/state-0-of-2.safetensors`, `${folder}/before`);
    await Promise.all([share(0, 2), share(1, 2)]);
    await Deno.rename(`${folder}/before`, `${group}/state-0-of-2.safetensors`);
    await Deno.remove(`${group}/scores-0-of-2-round-2.safetensors`); // or killed just before that
    const error = await assertRejects(
      async () => await learn((await contextOf(folder, "run", { configuration })).context),
      InputError,
      "all members of their group must have come to the same round: 0 is after round 1, 1 is after round 2",
    );
    assertStringIncludes(error.message, "let them go on, each with its group");
    assertEquals(await Promise.all([share(0, 3), share(1, 3)]), [[2, 3], [3]]);
    assertEquals(await learn((await contextOf(folder, "run", { configuration })).context), whole);
  }));

Deno.test("scores that were removed or damaged are given again from the state, also after the last round", () =>
  inFolder(async (folder) => {
    const whole = await learn((await contextOf(folder, "whole", { configuration })).context);
    for (const start of ["random", "ctbm"] as const) {
      const more = start === "ctbm" ? { start, fixed: true, partitionerSample: 40 } : {};
      const settings = (rounds: number) =>
        resolveConfiguration({ flags: { ...flags, experts: EXPERTS, rounds, ...more } });
      const alone = start === "random"
        ? whole
        : await learn((await contextOf(folder, "clusters", { configuration: settings(3) })).context);
      const run = `run-${start}`;
      const group = `${folder}/${run}/partitioner/group`;
      const running = new Set<number>();
      const runner = (other: number) => Promise.resolve(running.has(other) ? "somebody" : undefined);
      const share = async (index: number, rounds: number) => {
        running.add(index);
        const { context, events } = await contextOf(folder, run, { configuration: settings(rounds) });
        await learnShare(context, memberOf(index, 2, { patience: 0.2, runner }));
        running.delete(index);
        return roundsOf(events);
      };
      await Promise.all([share(0, 1), share(1, 1)]);
      await Deno.copyFile(`${group}/state-0-of-2.safetensors`, `${folder}/first`);
      await Promise.all([share(0, 2), share(1, 2)]);
      await Deno.copyFile(`${group}/state-0-of-2.safetensors`, `${folder}/second`);

      // One is after round 1, and the other after round 2, whose scores are gone.
      await Deno.rename(`${folder}/first`, `${group}/state-0-of-2.safetensors`);
      for (const index of [0, 1]) await Deno.remove(`${group}/scores-${index}-of-2-round-2.safetensors`);
      assertEquals(await Promise.all([share(0, 3), share(1, 3)]), [[2, 3], [3]]);

      // One is after round 2, and the other after the last, whose scores are damaged.
      await Deno.rename(`${folder}/second`, `${group}/state-0-of-2.safetensors`);
      const last = `${group}/scores-1-of-2-round-3.safetensors`;
      const bytes = await Deno.readFile(last);
      await Deno.writeFile(last, bytes.map((byte, at) => at === bytes.length - 1 ? byte ^ 1 : byte));
      await Deno.remove(`${group}/scores-0-of-2-round-3.safetensors`);
      assertEquals(await share(1, 3), []);
      assertEquals(await Deno.readFile(last), bytes);
      assertEquals(await share(0, 3), [3]);
      assertEquals(
        await learn((await contextOf(folder, run, { configuration: settings(3) })).context),
        alone,
      );
    }
  }));

Deno.test("scores with losses of fewer routers than they are of are refused by others, and given again by who made them", () =>
  inFolder(async (folder) => {
    const shorter = resolveConfiguration({ flags: { ...flags, experts: EXPERTS, rounds: 1 } });
    const share = async (index: number) =>
      await learnShare(
        (await contextOf(folder, "run", { configuration: shorter })).context,
        memberOf(index, 2),
      );
    await Promise.all([share(0), share(1)]);
    const group = `${folder}/run/partitioner/group`;
    const path = `${group}/scores-1-of-2-round-1.safetensors`;
    const file = await Deno.readFile(path);
    const { trainingLoss: _, ...metadata } = safetensorsMetadata(file, path)!;
    const without = { ...metadata, trainingLoss: "[]" };
    const changed = encodeSafetensors(decodeSafetensors(file, path), { metadata: without });
    await Deno.writeFile(path, ReadableStream.from(changed));
    await Deno.remove(`${group}/state-0-of-2.safetensors`);
    await assertRejects(() => share(0), InputError, "it has 0 training losses of 2 routers");
    await share(1);
    assertEquals(await Deno.readFile(path), file);
  }));

Deno.test("learn() puts together a complete group where members of groups of other sizes have come as far", () =>
  inFolder(async (folder) => {
    const shorter = resolveConfiguration({ flags: { ...flags, experts: EXPERTS, rounds: 1 } });
    const { context } = await contextOf(folder, "run", { configuration: shorter });
    await Promise.all(
      [0, 1].map(async (index) =>
        await learnShare(
          (await contextOf(folder, "run", { configuration: shorter })).context,
          memberOf(index, 2),
        )
      ),
    );
    const group = `${folder}/run/partitioner/group`;
    // Until the folder names a member of an incomplete group first, in whatever order it does.
    const firstState = () => [...Deno.readDirSync(group)].find(({ name }) => name.startsWith("state"))!.name;
    for (let of = 10; firstState().endsWith("-of-2.safetensors"); of++) {
      await Deno.copyFile(`${group}/state-0-of-2.safetensors`, `${group}/state-0-of-${of}.safetensors`);
    }
    const whole = await learn((await contextOf(folder, "whole", { configuration: shorter })).context);
    assertEquals(await learn(context), whole);
  }));

Deno.test("learn() goes on from its own state where a group that was left is not further, and begins anew without it", () =>
  inFolder(async (folder) => {
    const settings = (rounds: number) =>
      resolveConfiguration({ flags: { ...flags, experts: EXPERTS, rounds } });
    const whole = await learn((await contextOf(folder, "whole", { configuration })).context);
    const alone = async (rounds: number, changes: Partial<LearnContext> = {}) => {
      const { context, events } = await contextOf(folder, "run", {
        configuration: settings(rounds),
        ...changes,
      });
      return { learned: await learn(context), rounds: roundsOf(events) };
    };
    /** A member saves the state of all, as long as there is one, and is stopped before it learns more. */
    const leave = async () => {
      const { context } = await contextOf(folder, "run", { configuration });
      const nobody = { patience: 0.05, runner: () => Promise.resolve(undefined) };
      await assertRejects(() => learnShare(context, memberOf(0, 4, nobody)), DOMException, "nobody has run");
    };
    const state = `${folder}/run/partitioner/group/state-0-of-4.safetensors`;
    await alone(1);
    await leave();
    await Deno.copyFile(state, `${folder}/first`);
    const gpu = await (await contextOf(folder, "run")).context.gpu();
    const other = Object.create(gpu, { adapter: { value: "another card" } });
    assertEquals((await alone(1, { gpu: () => Promise.resolve(gpu) })).rounds, []);
    assertEquals((await alone(2)).rounds, [2]);
    assertEquals(await alone(3), { learned: whole, rounds: [3] });

    // Nor where it was left on another device.
    assertEquals((await alone(1, { gpu: () => Promise.resolve(other), anew: true })).rounds, [1]);
    await Deno.copyFile(`${folder}/first`, state);
    assertEquals((await alone(2, { gpu: () => Promise.resolve(other) })).rounds, [2]);

    // A group that is further holds up a process that goes on, and not one that begins anew.
    await assertRejects(() => alone(3), InputError, "0 is after round 1, 1 has no state");
    assertEquals((await alone(1, { anew: true })).rounds, [1]);
    assertEquals(await alone(3), { learned: whole, rounds: [2, 3] });
  }));

Deno.test("a member whose state is behind that of all routers goes on from the latter, as the others do", () =>
  inFolder(async (folder) => {
    const whole = await learn((await contextOf(folder, "whole", { configuration })).context);
    const settings = (rounds: number) =>
      resolveConfiguration({ flags: { ...flags, experts: EXPERTS, rounds } });
    await learn((await contextOf(folder, "run", { configuration: settings(1) })).context);
    const { context } = await contextOf(folder, "run", { configuration });
    const nobody = { patience: 0.05, runner: () => Promise.resolve(undefined) };
    await assertRejects(() => learnShare(context, memberOf(0, 2, nobody)), DOMException, "nobody has run");
    await learn((await contextOf(folder, "run", { configuration: settings(2) })).context);
    const { learned, events } = await learnTogether(folder, "run", 2);
    assertEquals(learned, whole);
    for (const told of events) assertEquals(roundsOf(told), [3]);
  }));

Deno.test("a member names one that nobody runs, and ends after a while; one process can go on with what all have", () =>
  inFolder(async (folder) => {
    const whole = await learn((await contextOf(folder, "whole", { configuration })).context);
    const ending = new AbortController();
    const left = await contextOf(folder, "run", { configuration, signal: ending.signal });
    left.context.recordTime = () => Promise.resolve(ending.abort(new DOMException("gone", "AbortError"))); // after round 1
    const { context, events } = await contextOf(folder, "run", { configuration });
    let holder: string | undefined = "process 7 on there";
    const runner = () => Promise.resolve(holder);
    const waiting = learnShare(context, memberOf(1, 2, { patience: 0.2, runner }));
    await assertRejects(() => learnShare(left.context, memberOf(0, 2)), DOMException, "gone");
    const warnings = () =>
      events.flatMap((event) => event.type === "warning" ? [wordText(event.message)] : []);
    while (!warnings().some((text) => text.includes("process 7"))) {
      await new Promise((done) => setTimeout(done, 20));
    }
    holder = undefined;
    await assertRejects(() => waiting, DOMException, "nobody has run member 0 of 2 for 0.2 s");
    assertEquals(warnings().slice(-2), [
      "waits for the scores of round 2 of member 0 of 2, which process 7 on there runs",
      "waits for the scores of round 2 of member 0 of 2, which nobody runs: it is started with group 0/2",
    ]);
    const alone = await contextOf(folder, "run", { configuration });
    assertEquals(await learn(alone.context), whole);
    assertEquals(roundsOf(alone.events), [2, 3]);
  }));

Deno.test("members of another kind of device, of other settings, and damaged scores are no part of a group", () =>
  inFolder(async (folder) => {
    await Promise.all([0, 1].map(async (index) => {
      const shorter = resolveConfiguration({ flags: { ...flags, experts: EXPERTS, rounds: 1 } });
      const { context } = await contextOf(folder, `${index}`, {
        configuration: shorter,
        folder: `${folder}/run`,
      });
      await learnShare(context, memberOf(index, 2));
    }));
    const own = await contextOf(folder, "any", { configuration, folder: `${folder}/run` });
    const scores = `${folder}/run/group/scores-0-of-2-round-1.safetensors`;
    const bytes = await Deno.readFile(scores);
    const gpu = await own.context.gpu();
    const other: LearnContext = {
      ...own.context,
      gpu: () => Promise.resolve(Object.create(gpu, { adapter: { value: "another card" } })),
    };
    const refusal = 'as all routers must be learned on devices of one kind: this is "another card"';
    await assertRejects(() => learnShare(other, memberOf(0, 2)), InputError, refusal);
    await assertRejects(() => learn(other), InputError, refusal);
    await Deno.remove(`${folder}/run/group/state-0-of-2.safetensors`);
    await assertRejects(() => learnShare(other, memberOf(0, 2, { patience: 0.05 })), InputError, refusal);

    // Of other settings: it neither goes on from the states, nor takes the scores of the other one, which are there.
    const settings = {
      ...own.context,
      stateKey: (values: Record<string, unknown>) => JSON.stringify([values]),
    };
    const alone = { patience: 0.05, runner: () => Promise.resolve(undefined) };
    await assertRejects(
      () => learnShare(settings, memberOf(1, 2, alone)),
      DOMException,
      "nobody has run member 0",
    );
    bytes[bytes.length - 1] ^= 1;
    await Deno.writeFile(scores, bytes);
    const refused =
      'scores-0-of-2-round-1.safetensors" as it must hold the scores of a round: its checksum is not';
    await assertRejects(() => learnShare(own.context, memberOf(1, 2)), InputError, refused);
  }));

Deno.test("a group that begins anew on another kind of device waits for who has not begun, and takes nothing of the earlier learning", () =>
  inFolder(async (folder) => {
    const shorter = resolveConfiguration({ flags: { ...flags, experts: EXPERTS, rounds: 1 } });
    const { learned: before } = await learnTogether(folder, "run", 2, { configuration: shorter });
    const own = await contextOf(folder, "run", { configuration: shorter });
    const gpu = await own.context.gpu();
    const share = async (index: number, changes: Partial<Member> = {}) => {
      const { context, events } = await contextOf(folder, "run", { configuration: shorter, anew: true });
      context.gpu = () => Promise.resolve(Object.create(gpu, { adapter: { value: "another card" } }));
      return { events, done: learnShare(context, memberOf(index, 2, changes)) };
    };
    const scores = `${folder}/run/partitioner/group/scores-0-of-2-round-1.safetensors`;
    const adapter = async () => {
      const bytes = await Deno.readFile(scores).catch((error) => { // it may be replaced just now
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      });
      return bytes && safetensorsMetadata(bytes, scores)?.adapter;
    };
    const first = await share(0, { patience: 2 });
    first.done.catch(() => {}); // heard below
    while (await adapter() !== "another card") await new Promise((done) => setTimeout(done, 10));
    await assertRejects(() => first.done, InputError, 'this is "another card"'); // nobody came
    const told = first.events.flatMap((event) => event.type === "warning" ? [wordText(event.message)] : []);
    assertStringIncludes(told.join("\n"), "Cannot exchange scores as all routers must be learned on devices");
    const again = await share(0);
    const other = await share(1);
    assertEquals((await Promise.all([again.done, other.done])).map(({ rounds }) => rounds), [1, 1]);
    const whole = await contextOf(folder, "run", { configuration: shorter });
    whole.context.gpu = () => Promise.resolve(Object.create(gpu, { adapter: { value: "another card" } }));
    assertEquals((await learn(whole.context)).sha256, before.sha256);
  }));

Deno.test("a member that has lost its state is told so, as the others keep nothing of its first rounds", () =>
  inFolder(async (folder) => {
    const own = await Promise.all([0, 1].map(() => contextOf(folder, "run", { configuration })));
    await Promise.all(own.map(({ context }, index) => learnShare(context, memberOf(index, 2))));
    const state = `${folder}/run/partitioner/group/state-1-of-2.safetensors`;
    await Deno.rename(state, `${folder}/lost`);
    const share = async (patience: number) => {
      const { context } = await contextOf(folder, "run", { configuration });
      const runner = () => Promise.resolve("process 7 on there");
      return await learnShare(context, memberOf(1, 2, { patience, runner }));
    };
    const { message } = await assertRejects(() => share(0.2), InputError);
    assertEquals(
      message,
      "Cannot train member 1 of 2 as the others must have the scores of round 1 for it: process 7 on there runs " +
        "member 0, which is after round 3 and keeps them no more; " +
        `put "${state}" back, which is lost, or end all members and begin anew with force, each of them`,
    );
    await Deno.rename(`${folder}/lost`, state);
    assertEquals((await share(60)).rounds, 3);
  }));
