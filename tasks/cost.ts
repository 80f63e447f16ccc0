/**
 * Counts what the method costs: a configuration of your own, or the paper's figures next to those of the formulas.
 *
 *   deno task cost --preset small --experts 8 --flops 1e12 --utilisation 0.4
 *   deno task cost --cluster --machines 1000 --corpus-tokens 1e12 --flops 60e12 --utilisation 0.3
 */
import {
  paperCommunication,
  paperPair,
  paperTable,
  PRINTED_COMMUNICATION,
  readCost,
  usualDevice,
} from "../pipeline/cost/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { checkClusterOptions, CLUSTER, clusterPlans, clusterText } from "./cluster.ts";
import { defineTask } from "./command.ts";
import { communicationText, costText, namedDevice, pairText, tableText } from "./cost_text.ts";
import { take } from "./options.ts";

export const TASK = await defineTask({
  name: "cost",
  startsAnew: true,
  options: {
    paper: field.flag("print the paper's tables as well: its figures next to those of the formulas"),
    run: field.path({ value: "FOLDER" }, "run folder whose settings and number of sequences to take"),
    ...take("preset", "config", "recompute", "flops", "utilisation"),
    ...CLUSTER,
  },
  run: async ({ sources, options, given, print }) => {
    checkClusterOptions(given);
    if (options.cluster) {
      const plans = clusterPlans(sources, options, namedDevice(options, await usualDevice()));
      return print(plans, clusterText(plans));
    }
    const table = paperTable();
    const pair = paperPair();
    const communication = { printed: PRINTED_COMMUNICATION, counted: paperCommunication() };
    const device = namedDevice(options, await usualDevice());
    const cost = await readCost({ ...options, ...device, sources });
    const own = costText(cost, options.run || undefined);
    const tables = [tableText(table), pairText(pair), communicationText(communication)];
    print({ table, pair, communication, cost }, (options.paper ? [own, ...tables] : [own]).join("\n\n"));
  },
}, import.meta);
