import { assertEquals } from "@std/assert";
import { adoptedExperts, adoptionOf } from "../../../pipeline/run/adoption.ts";
import { writeRunConfiguration } from "../../../pipeline/run/configuration.ts";
import { stageKey, writeManifest } from "../../../pipeline/run/manifest.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { inFolder } from "../../tasks/support.ts";

const SHAPE = { vocabulary: 9, hidden: 4, layers: 1, heads: 1, context: 8 };
const ADOPTED = { from: "elsewhere", sha256: "ab", shape: SHAPE, parameters: 12 };

Deno.test("adoptedExperts() lists the experts whose manifests say where they came from, by id", () =>
  inFolder(async (run) => {
    const write = async (stage: string, configuration: Record<string, unknown>) => {
      const key = stageKey(stage, 1, configuration, {});
      const identity = { stage, revision: 1, key, configuration, inputs: {} };
      return await writeManifest(run, identity, { outputs: {}, result: {}, read: {} });
    };
    const own = await write("train-expert-00", { steps: 3 });
    await write("train-expert-11", { adopted: ADOPTED });
    const adopted = await write("train-expert-02", { adopted: { ...ADOPTED, from: "there" } });
    await write("train-dense", { adopted: ADOPTED });
    assertEquals(adoptionOf(own), undefined);
    assertEquals(adoptionOf(null), undefined);
    assertEquals(adoptionOf(adopted), { ...ADOPTED, from: "there" });
    assertEquals(
      (await adoptedExperts(run)).map(({ expert, from }) => [expert, from]),
      [[2, "there"], [11, "elsewhere"]],
    );
    assertEquals(await adoptedExperts(`${run}/none`), []);
    await writeRunConfiguration(run, { ...defaultConfiguration(), experts: 11 });
    assertEquals((await adoptedExperts(run)).map(({ expert }) => expert), [2]); // there were twelve once
  }));
