import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { sha256 } from "../../../pipeline/graph/files.ts";
import {
  openMetrics,
  readLastMetrics,
  readStepMetrics,
  type StepMetrics,
} from "../../../pipeline/training/metrics.ts";
import { inFolder } from "../../tasks/support.ts";

const lineOf = (step: number): StepMetrics => ({
  step,
  tokens: 10 * step,
  loss: 2,
  rate: 0.1,
  norm: 1,
});

Deno.test("openMetrics() appends lines, says size and hash, and cuts off what a checkpoint did not know of", () =>
  inFolder(async (folder) => {
    const path = `${folder}/metrics/expert-00.jsonl`;
    const file = await openMetrics(path);
    await file.append(lineOf(1));
    await file.append(lineOf(2));
    const [bytes, hash] = [file.bytes, file.sha256()];
    await file.flush();
    const known = await Deno.readFile(path);
    assertEquals([bytes, hash], [known.length, sha256(known)]);
    await file.append(lineOf(3));
    file.close();

    const later = await openMetrics(path, bytes);
    assertEquals([later.bytes, later.sha256()], [bytes, hash]);
    await later.append(lineOf(4));
    assertEquals(later.sha256(), sha256(await Deno.readFile(path)));
    later.close();
    assertEquals((await readStepMetrics(path)).map(({ step }) => step), [1, 2, 4]);
  }));

Deno.test("openMetrics() refuses a link, and readStepMetrics() a line that is none", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/user.txt`, "mine");
    await Deno.symlink(`${folder}/user.txt`, `${folder}/link.jsonl`);
    await assertRejects(() => openMetrics(`${folder}/link.jsonl`), InputError, "link");
    assertEquals(await Deno.readTextFile(`${folder}/user.txt`), "mine");
    await Deno.writeTextFile(`${folder}/damaged.jsonl`, '{"step":1}\n');
    await assertRejects(
      () => readStepMetrics(`${folder}/damaged.jsonl`),
      InputError,
      "damaged.jsonl",
    );
  }));

Deno.test("readLastMetrics() reads the end of a file of any length, and passes over what is damaged or not written yet", () =>
  inFolder(async (folder) => {
    const path = `${folder}/metrics.jsonl`;
    assertEquals(await readLastMetrics(path), null);
    await Deno.writeTextFile(path, '{"step":1,');
    assertEquals(await readLastMetrics(path), null);
    const line = (step: number) => {
      const validationLoss = step % 100 === 0 ? { validationLoss: step / 1000 } : {};
      return JSON.stringify({
        step,
        tokens: 10 * step,
        loss: 2,
        rate: 0.1,
        norm: 1,
        ...validationLoss,
      }) +
        "\n";
    };
    const lines = Array.from({ length: 5050 }, (_, i) => line(i + 1));
    await Deno.writeTextFile(path, `${lines.join("")}damaged\n${line(6000).slice(0, 20)}`);
    const { last, validationLoss, at } = (await readLastMetrics(path))!;
    assertEquals([last.step, last.tokens, validationLoss, at instanceof Date], [
      5050,
      50_500,
      5,
      true,
    ]);
  }));
