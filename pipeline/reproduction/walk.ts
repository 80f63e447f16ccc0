/**
 * The order in which studies are made: a run follows on the searches that it needs, and these on the runs where they take place. What makes
 * studies and what plans them are walks of the same kind.
 *
 * @module
 */

import type { RateSearch, Searched } from "../report/reproduction.ts";
import type { Grid, Known } from "./grid.ts";
import type { RouterSearch } from "./search.ts";
import type { Setup } from "./study.ts";

/** Goes through runs of studies. */
export abstract class StudyWalk {
  readonly #split = new Set<string>();

  /** `known` is added to. `only` names runs, before any search; none for all. */
  constructor(
    protected readonly grid: Grid,
    protected readonly known: Known,
    protected readonly only: readonly string[],
  ) {}

  /** Searches for the settings of the routers of the runs, and lists these then. */
  async resolve(): Promise<Setup[]> {
    for (const setup of this.grid.unresolved) {
      if (this.only.length === 0 || this.only.includes(setup.name)) await this.resolved(setup);
    }
    return this.grid.runs(this.known, this.only);
  }

  /** Makes a run, and before that what it needs. */
  async make(setup: Setup): Promise<void> {
    await this.#splitOnce(setup);
    for (const model of this.grid.openRates(setup, this.known.rates)) {
      const recipe = this.grid.rateRecipe(model, setup);
      if (this.known.rates[recipe]) continue; // a model before it has the same
      const searcher = await this.resolved(this.grid.rateSearcher(recipe));
      await this.#splitOnce(searcher);
      await this.learn();
      this.known.rates[recipe] ??= await this.searchRate(model, recipe, searcher);
    }
    await this.train(setup);
  }

  /** Gives a run with the settings of its routers, which are searched for where they are not known. */
  protected async resolved(setup: Setup): Promise<Setup> {
    const recipe = this.grid.routerRecipe(setup);
    if (recipe !== undefined && !this.known.searches[recipe]) {
      await this.learn();
      this.known.searches[recipe] ??= await this.searchRouters(recipe, this.grid.routerSearcher(recipe));
    }
    return this.grid.resolved(setup, this.known.searches)!;
  }

  async #splitOnce(setup: Setup): Promise<void> {
    if (this.#split.has(setup.name)) return;
    this.#split.add(setup.name);
    await this.split(setup);
  }

  /** Takes up what others found meanwhile. */
  protected async learn(): Promise<void> {}
  /** Searches for settings of routers. */
  protected abstract searchRouters(recipe: string, setup: Setup): Promise<RouterSearch>;
  /** Splits the text of a run. */
  protected abstract split(setup: Setup): Promise<void>;
  /** Searches for the learning rate of a model in a run that is split. */
  protected abstract searchRate(model: Searched, recipe: string, setup: Setup): Promise<RateSearch>;
  /** Trains the models of a run whose rates are known, and evaluates them. */
  protected abstract train(setup: Setup): Promise<void>;
}
