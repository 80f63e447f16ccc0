import { assertEquals } from "@std/assert";
import { writeManifest } from "../../../pipeline/graph/mod.ts";
import { adoptedExperts } from "../../../pipeline/training/adoption.ts";
import { writeRunConfiguration } from "../../../pipeline/run/configuration.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { inFolder } from "../../tasks/support.ts";

const SHAPE = { vocabulary: 9, hidden: 4, layers: 1, heads: 1, context: 8 };
const ADOPTED = { from: "elsewhere", sha256: "ab", shape: SHAPE, parameters: 12 };

Deno.test("adoptedExperts() lists the experts whose manifests say where they came from, by id", () =>
  inFolder(async (run) => {
    const write = async (name: string, result: Record<string, unknown>) => {
      const known = { key: "", revision: 1, settings: {}, inputs: {}, files: {} };
      await Deno.mkdir(`${run}/${name}`, { recursive: true });
      await writeManifest(`${run}/${name}`, { ...known, name, result });
    };
    await write("experts/expert-00", { steps: 3 });
    await write("experts/expert-11", { adopted: ADOPTED });
    await write("experts/expert-02", { adopted: { ...ADOPTED, from: "there" } });
    const found = async () => (await adoptedExperts(run)).map(({ expert, from }) => [expert, from]);
    assertEquals(await found(), [[2, "there"], [11, "elsewhere"]]);
    assertEquals(await adoptedExperts(`${run}/none`), []);
    await writeRunConfiguration(run, { ...defaultConfiguration(), experts: 11 });
    assertEquals(await found(), [[2, "there"]]); // there were twelve once
  }));
