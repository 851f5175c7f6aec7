/**
 * The part of an app's backend that this demo needs: tokens and matches.
 *
 * In development mode the server lets the page play the backend, with the API key `dev`. In earnest an app's own backend
 * makes tokens and matches; then the page asks for a token and cannot make matches.
 */

import { DuologueError, uuid7 } from "../duologue.js";

export class Backend {
  /** @param {string | undefined} apiKey Known in development mode only. */
  constructor(apiKey) {
    this.apiKey = apiKey;
  }

  /** Ask the server which kind it is. */
  static async find() {
    const response = await fetch("/v1/dev", { cache: "no-store" });
    if (!response.ok) return new Backend(undefined);
    /** @type {{api_key: string}} */
    const { api_key } = await response.json();
    return new Backend(api_key);
  }

  get isDevelopment() {
    return this.apiKey !== undefined;
  }

  /** A fresh access token. @param {string} user @returns {Promise<string>} */
  async token(user) {
    /** @type {{token: string}} */
    const { token } = await this.#call("POST", "/v1/tokens", { user });
    return token;
  }

  /** Make a match of these people; returns its id. @param {string[]} members */
  async makeMatch(members) {
    const match = `m-${uuid7()}`;
    await this.#call("PUT", `/v1/matches/${encodeURIComponent(match)}`, { members });
    return match;
  }

  /**
   * @template Answer
   * @param {string} method
   * @param {string} path
   * @param {object} body
   * @returns {Promise<Answer>}
   */
  async #call(method, path, body) {
    const headers = { Authorization: `Bearer ${this.apiKey}`, "Content-Type": "application/json" };
    const response = await fetch(path, { method, headers, body: JSON.stringify(body) });
    const answer = await response.json();
    if (response.ok) return answer;
    const { code = "internal", message = response.statusText, retry_after_ms } = answer?.error ?? {};
    throw new DuologueError(code, message, { retry_after_ms });
  }
}

/**
 * The user that a token is for, or undefined when it is not a JWT.
 * @param {string} token
 * @returns {string | undefined}
 */
export function userOf(token) {
  try {
    const claims = atob((token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/"));
    const bytes = Uint8Array.from(claims, (character) => character.charCodeAt(0));
    const { sub } = JSON.parse(new TextDecoder().decode(bytes));
    return typeof sub === "string" ? sub : undefined;
  } catch {
    return undefined;
  }
}
