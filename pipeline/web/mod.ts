/**
 * The mixture in a browser: what a site holds, its script, and a server for a look at it.
 *
 * @module
 */

export { bundleScript } from "./bundle.ts";
export { serveSite, type ServeSiteOptions } from "./static_server.ts";
