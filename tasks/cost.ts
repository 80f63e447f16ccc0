/**
 * Counts what the method costs: the paper's Table 3 beside the formulas' figures, then a configuration of your own.
 *
 *   deno task cost --preset small --experts 8 --flops 1e12 --utilisation 0.4
 */
import { paperCommunication, paperTable, PRINTED_COMMUNICATION, readCost } from "../mod.ts";
import { runTask } from "./command.ts";
import { communicationText, costText, tableText } from "./cost_text.ts";

if (import.meta.main) {
  await runTask({
    name: "cost",
    startsAnew: true,
    about:
      "Counts FLOPs, parameters, memory, bytes exchanged and time of a configuration, and the paper's Table 3.",
    run: async ({ sources, options }) => {
      const { costRun: run, recompute, flops, utilisation, json } = options;
      const table = paperTable();
      const communication = { printed: PRINTED_COMMUNICATION, counted: paperCommunication() };
      const cost = await readCost({ run, sources, recompute, flops, utilisation });
      if (json) return console.log(JSON.stringify({ table, communication, cost }, null, 2));
      console.log([tableText(table), communicationText(communication), costText(cost)].join("\n\n"));
    },
  });
}
