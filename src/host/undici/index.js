/**
 * In the bundle, this is what `@actions/http-client` has of undici (`paths` in tsconfig.json, which ncc reads). It makes
 * a ProxyAgent only in `getAgentDispatcher`, which `@actions/core` never calls: its requests, and their proxies, go
 * through node:http. The whole of undici would be 0.7 MB more for Node to parse at every start. What is used of undici
 * here is imported by its parts.
 */
export class ProxyAgent {
  constructor() {
    throw new Error('undici is not in the bundle as a whole')
  }
}
