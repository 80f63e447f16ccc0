import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  readConfiguration,
  readRunConfiguration,
  writeRunConfiguration,
} from "../../../pipeline/graph/configuration.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { inFolder } from "../../tasks/support.ts";

const configuration = { ...defaultConfiguration(), seed: 5 };

Deno.test("readRunConfiguration() gives what was written", () =>
  inFolder(async (run) => {
    assertEquals(await readRunConfiguration(run), null);
    const adapter = {
      description: "an adapter",
      kind: "software",
      variants: { matmul: "subgroup" },
    };
    await writeRunConfiguration(run, configuration, adapter);
    const read = (await readRunConfiguration(run))!;
    assertEquals([read.configuration, read.adapter, read.format], [configuration, adapter, 4]);
    assertEquals<unknown>(await readConfiguration(`${run}/config.json`), configuration);
  }));

Deno.test("readRunConfiguration() refuses what cannot be a run's configuration, with how it is mended", () =>
  inFolder(async (run) => {
    const whole = { format: 4, configuration, versions: {} };
    const cases: [value: unknown, text: string][] = [
      ["{", "it must be a JSON object"],
      [[], "it must be a JSON object"],
      [{ format: 4, versions: {} }, "configuration"],
      [{ ...whole, configuration: { ...configuration, seed: "5" } }, "seed"],
      [{ ...whole, configuration: { ...configuration, sead: 5 } }, '"sead"'],
      [{ ...whole, format: 3 }, "its format must be 4: it is 3"],
      [{ configuration, versions: {} }, "its format must be 4: it is 1"],
      [whole, "must be what the run wrote"],
      [{ ...whole, adapter: { description: 1 } }, "adapter"],
    ];
    for (const [value, text] of cases) {
      await Deno.writeTextFile(
        `${run}/config.json`,
        typeof value === "string" ? value : JSON.stringify(value),
      );
      const error = await assertRejects(() => readRunConfiguration(run), InputError, text);
      assertEquals([error.where, error.remedy === undefined], [`${run}/config.json`, false]);
    }
    await assertRejects(
      () => readRunConfiguration(`${run}/config.json`),
      InputError,
      "it is a file",
    );
  }));

Deno.test("an edited config.json of a tree is reported by what all of it was made with, not by a branch", () =>
  inFolder(async (run) => {
    const tree = { ...configuration, experts: 4, levels: [2, 2] };
    await writeRunConfiguration(run, { ...tree, seed: 6 });
    const text = await Deno.readTextFile(`${run}/config.json`);
    await Deno.writeTextFile(`${run}/config.json`, text.replace(/"seed": 6/, '"seed": 7'));
    for (
      const name of [
        "rounds/root/01/router-00",
        "branches/root",
        "assignments/root",
        "scores/branch-01",
      ]
    ) {
      await Deno.mkdir(`${run}/${name}`, { recursive: true });
      await Deno.writeTextFile(`${run}/${name}/manifest.json`, '{"settings": {"experts": 2}}');
    }
    await assertRejects(
      () => readRunConfiguration(run),
      InputError,
      "nothing was made with other values",
    );
    await Deno.mkdir(`${run}/assignments/all`);
    const settings = JSON.stringify({ settings: { experts: 4, levels: [2, 2], seed: 6 } });
    await Deno.writeTextFile(`${run}/assignments/all/manifest.json`, settings);
    await assertRejects(
      () => readRunConfiguration(run),
      InputError,
      '"assignments/all" was made with 6',
    );
  }));

Deno.test("readConfiguration() takes settings themselves, and refuses what is none", () =>
  inFolder(async (folder) => {
    const path = `${folder}/settings.json`;
    await Deno.writeTextFile(path, '{"seed": 3}');
    assertEquals(await readConfiguration(path), { seed: 3 });
    await Deno.writeTextFile(path, '{"model_type": "gpt_neox"}');
    await assertRejects(() => readConfiguration(path), InputError, '"model_type" is none');
  }));
