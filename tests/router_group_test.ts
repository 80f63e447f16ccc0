import { assertEquals } from "@std/assert";
import { entriesOf } from "../pipeline/run/files.ts";
import { until } from "./slurm.ts";
import { inFolder, SMALL, smallCorpus, task, taskCommand, whatIsMade } from "./tasks/support.ts";

Deno.test("two and four processes, killed at any moment, train the routers of one process", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/docs.jsonl`, smallCorpus());
    const settings = ["--input", `${folder}/docs.jsonl`, ...SMALL, "--experts", "4"];
    const succeed = async (name: string, args: string[]) => {
      const { code, err } = await task(name, args);
      assertEquals(code, 0, err);
    };
    const routers = async (run: string) =>
      Object.fromEntries(
        Object.entries(await whatIsMade(run)).filter(([path]) => /^(partitioner|rounds)\//.test(path)),
      );
    await succeed("submit", ["--settle", "--run", `${folder}/whole`, ...settings]);
    await succeed("train-routers", ["--run", `${folder}/whole`]);
    const whole = await routers(`${folder}/whole`);
    for (const size of [2, 4]) {
      const run = `${folder}/${size}`;
      await succeed("submit", ["--settle", "--run", run, ...settings]);
      await succeed("tokenize", ["--run", run]);
      const start = (part: number) =>
        taskCommand("train-routers", ["--run", run, "--part", `${part}/${size}`]).spawn();
      const all = Array.from({ length: size }, (_, i) => start(i + 1));
      const late = 1 + Math.floor(Math.random() * 12); // nodes that there are before one process is killed
      const nodes = async () =>
        (await Promise.all(
          (await entriesOf(`${run}/rounds`)).map(({ name }) => entriesOf(`${run}/rounds/${name}`)),
        ))
          .flat().length;
      await until(`node ${late}`, async () => await nodes() >= late, 120);
      all[0].kill("SIGKILL");
      await all[0].output();
      all[0] = start(1);
      for (const child of all) {
        const { code, stderr } = await child.output();
        assertEquals(code, 0, new TextDecoder().decode(stderr));
      }
      await succeed("train-routers", ["--run", run]);
      assertEquals(await routers(run), whole, `${size} processes, one killed after node ${late}`);
    }
  }));
