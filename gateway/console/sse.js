// Reads a text/event-stream piece by piece. Pure: text in, events out.
//
// `EventSource` cannot send an Authorization header, and a token must not stand in an address; so
// the stream is read with fetch and taken apart here, by the rules of the HTML standard.

const MAX_BUFFERED = 1_048_576;

export class StreamReader {
  #rest = "";
  #event = { type: "", data: [] };
  #dataSize = 0;
  lastId = "";

  // Takes a piece of text; returns the events that are whole with it, as {type, data, id}.
  push(text) {
    this.#rest += text;
    const lines = this.#rest.split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop();
    const events = lines.map((line) => this.#take(line)).filter(Boolean);
    if (this.#rest.length + this.#dataSize > MAX_BUFFERED) {
      throw new RangeError("An event of the stream is too long.");
    }
    return events;
  }

  #take(line) {
    if (line === "") {
      const { type, data } = this.#event;
      this.#event = { type: "", data: [] };
      this.#dataSize = 0;
      return data.length ? { type: type || "message", data: data.join("\n"), id: this.lastId } : null;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") {
      this.#event.data.push(value);
      this.#dataSize += line.length;
    } else if (name === "event") this.#event.type = value;
    else if (name === "id" && !value.includes("\0")) this.lastId = value;
    return null;
  }
}
