/** Server-sent events to one client: bounded, and kept alive by comments so that both ends notice when the other is gone. */
import type { ServerResponse } from "node:http";

const BUFFER_BYTES_MAX = 1024 * 1024;
const KEEP_ALIVE_MS = 10_000;

export class EventStream {
  readonly #response: ServerResponse;
  readonly #keepAlive: NodeJS.Timeout;

  /** Sends the head of the answer. */
  constructor(response: ServerResponse, headers: Readonly<Record<string, string>> = {}) {
    this.#response = response;
    response.writeHead(200, { ...headers, "content-type": "text/event-stream", "cache-control": "no-store" });
    response.flushHeaders();
    // Many streams at once shall not all wake up in the same moment: each counts from its own beginning.
    this.#keepAlive = setInterval(() => this.#write(": here\n\n"), KEEP_ALIVE_MS);
    response.on("error", () => response.destroy());
    this.onClose(() => clearInterval(this.#keepAlive));
  }

  onClose(listener: () => void): void {
    this.#response.once("close", listener);
  }

  /** A client that does not read is let go. */
  send(data: string, id?: number): void {
    this.#write(id === undefined ? `data: ${data}\n\n` : `id: ${id}\ndata: ${data}\n\n`);
  }

  /** Left out while the client has not read what was sent before: it gets the next one. */
  sendLatest(data: string): void {
    if (!this.#response.writableNeedDrain) this.send(data);
  }

  end(): void {
    this.#response.end();
  }

  #write(text: string): void {
    this.#response.write(text);
    if (this.#response.writableLength > BUFFER_BYTES_MAX) this.#response.destroy();
  }
}
