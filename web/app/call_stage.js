/** The pictures of a call: the others large, oneself small, a grid for groups, a shared screen before everything. */

/** @import { Call, MatchView } from "../duologue.js" */

import { Tile } from "./call_tile.js";
import { el, set } from "./dom.js";
import { avatar } from "./people.js";

export class CallStage {
  /** @type {Map<string, Tile>} */
  #tiles = new Map();

  /** @param {string} me @param {MatchView | undefined} match */
  constructor(me, match) {
    this.me = me;
    this.match = match;
    this.element = el("div", { class: "stage" });
  }

  /** Show everybody as they are now. @param {Call} call */
  show(call) {
    const { participants, local } = call;
    /** @type {[string, () => Tile, (tile: Tile) => void][]} */
    const wanted = [];
    for (const each of participants) {
      if (each.media.screen) {
        wanted.push([
          `${each.peer} screen`,
          () => new Tile(each.user, { screen: true }),
          (tile) => tile.showScreen(each),
        ]);
      }
      wanted.push([each.peer, () => new Tile(each.user), (tile) => tile.show(each)]);
    }
    if (local.state.screen)
      wanted.push([
        "my screen",
        () => new Tile(this.me, { mine: true, screen: true }),
        (tile) => tile.showOwnScreen(local),
      ]);
    wanted.push(["me", () => new Tile(this.me, { mine: true }), (tile) => tile.showSelf(local)]);
    const keys = new Set(wanted.map(([key]) => key));
    for (const [key, tile] of this.#tiles) {
      if (keys.has(key)) continue;
      tile.end();
      this.#tiles.delete(key);
    }
    for (const [index, [key, make, show]] of wanted.entries()) {
      const known = this.#tiles.get(key);
      const tile = known ?? make();
      if (!known) {
        this.#tiles.set(key, tile);
        void tile.listenWith(local.chosen.speaker);
      }
      show(tile);
      // A picture that is moved in the page stops for a moment.
      if (this.element.children[index] !== tile.element)
        this.element.insertBefore(tile.element, this.element.children[index] ?? null);
    }
    this.#arrange(call);
  }

  /** @param {Call} call */
  #arrange({ participants, caller }) {
    const shared = participants.some(({ media }) => media.screen);
    const layout = participants.length === 0 ? "alone" : shared ? "screen" : participants.length === 1 ? "two" : "grid";
    set(this.element, { "data-layout": layout, "data-count": participants.length + 1 });
    const waiting = this.element.querySelector(".waiting");
    if (layout !== "alone") waiting?.remove();
    else if (!waiting)
      this.element.append(
        el("div", { class: "waiting" }, el("span", { class: "calling" }, avatar(this.match?.others ?? [caller]))),
      );
  }

  /** Have all sound come from a device. @param {string} id */
  listenWith(id) {
    for (const tile of this.#tiles.values()) void tile.listenWith(id);
  }

  /** Let go of every picture. */
  end() {
    for (const tile of this.#tiles.values()) tile.end();
    this.#tiles.clear();
  }
}
