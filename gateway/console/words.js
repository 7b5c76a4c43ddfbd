// What error types mean, and what to do: the server's own table.

import { Refused } from "./api.js";

const ACTORS = {
  client: "whoever sends", operator: "the operator", platform: "Sluice itself; it often passes",
};

export class Words {
  #byName = new Map();

  // Without the table the page works, with the server's own sentences alone.
  async load(api) {
    let found;
    try {
      found = await api.get("/api/ingestion/error-types");
    } catch (error) {
      if (error instanceof Refused && error.status !== 401) return;
      throw error;
    }
    for (const one of found.error_types) this.#byName.set(one.type, one);
  }

  title(type) {
    return this.#byName.get(type)?.title ?? type;
  }

  meaning(type) {
    return this.#byName.get(type)?.meaning ?? "";
  }

  remedy(type) {
    return this.#byName.get(type)?.remedy ?? "";
  }

  actor(type) {
    const actor = this.#byName.get(type)?.who;
    return ACTORS[actor] ?? actor ?? "";
  }

  // A refusal as a sentence: what the server said, and what to do about it.
  sentence(refusal) {
    const remedy = this.remedy(refusal.type);
    return remedy && !refusal.message.includes(remedy)
      ? `${refusal.message} ${plain(remedy)}` : refusal.message;
  }
}

export const plain = (text) => text.replaceAll("`", "");
