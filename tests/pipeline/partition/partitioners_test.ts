import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { writeDescription } from "../../../pipeline/partition/partitioner.ts";
import {
  identifyPartitioner,
  openPartitioner,
  partitionerFolder,
  routesByPrefix,
} from "../../../pipeline/partition/partitioners.ts";
import { writeRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import {
  type Configuration,
  defaultConfiguration,
} from "../../../pipeline/settings/configuration.ts";
import { inFolder } from "../../tasks/support.ts";
import { E, noDevice, PREFIX } from "./support.ts";

const DESCRIPTION = {
  kind: "random",
  experts: E,
  prefix: PREFIX,
  tokenizer: "ab12",
  vocabulary: 99,
  eos: 0,
};

Deno.test("routesByPrefix() goes by the run's kind, or by that of the folder that it takes its partitioner from", () =>
  inFolder(async (folder) => {
    await writeDescription(`${folder}/source`, { ...DESCRIPTION, kind: "source" });
    await writeDescription(`${folder}/random`, DESCRIPTION);
    await Deno.mkdir(`${folder}/damaged`);
    await Deno.writeTextFile(`${folder}/damaged/partitioner.json`, "{");
    const runs: [settings: Partial<Configuration>, routes: boolean][] = [
      [{}, true],
      [{ partitioner: "source" }, false],
      [{ routers: `${folder}/source` }, false],
      [{ partitioner: "source", routers: `${folder}/random` }, true],
      ...["damaged", "gone"].map((
        name,
      ): [object, boolean] => [{ routers: `${folder}/${name}` }, true]),
    ];
    assertEquals(await routesByPrefix(folder), true);
    for (const [settings, routes] of runs) {
      const configuration = { ...defaultConfiguration(), ...settings };
      await writeRunConfiguration(folder, configuration);
      assertEquals(await routesByPrefix(folder), routes, JSON.stringify(settings));
    }
  }));

Deno.test("openPartitioner() and identifyPartitioner() refuse folders without a partitioner, of other kinds, and damaged ones", () =>
  inFolder(async (folder) => {
    const refusal = async (place: string) => {
      const error = await assertRejects(() => openPartitioner(place, noDevice), InputError);
      await assertRejects(() => identifyPartitioner(place), InputError, error.message);
      return error;
    };
    const nothing = await refusal(`${folder}/nothing`);
    assert(nothing.message.endsWith("or router-00: it is not there"), nothing.message);
    await writeDescription(`${folder}/run/partitioner`, { ...DESCRIPTION, kind: "none" });
    // the run itself, and others next to it and inside it
    for (const wrong of ["", "/scores", "/partitioner/router-00"]) {
      await Deno.mkdir(`${folder}/run${wrong}`, { recursive: true });
      assertEquals(
        (await refusal(`${folder}/run${wrong}`)).remedy,
        `name ${folder}/run/partitioner`,
      );
    }
    await Deno.remove(`${folder}/run/partitioner/router-00`);
    const other = await refusal(`${folder}/run/partitioner`);
    assert(
      other.message.endsWith("must be em or ctbm or random or source or self or tree: it is none"),
    );
    const path = `${folder}/run/partitioner/partitioner.json`;
    for (const text of ["{", "[]", JSON.stringify({ format: 2, ...DESCRIPTION }), '{"format":1}']) {
      await Deno.writeTextFile(path, text);
      assertEquals((await refusal(`${folder}/run/partitioner`)).where, path);
    }
  }));

Deno.test("partitionerFolder() finds what is named, or what the run has where nothing is there", () =>
  inFolder(async (run) => {
    const other = `${run}/other`;
    assertEquals([await partitionerFolder(run), await partitionerFolder(run, other)], [
      `${run}/partitioner`,
      other,
    ]);
    await writeDescription(`${run}/partitioner`, DESCRIPTION);
    assertEquals(await partitionerFolder(run, other), `${run}/partitioner`);
    await Deno.mkdir(`${other}/router-00`, { recursive: true });
    assertEquals(await partitionerFolder(run, other), other);
  }));
