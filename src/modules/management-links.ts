/** Management's connections to the modules: control messages both ways, reconnecting for as long as the server runs. */
import { parseControl, type ManagementToCpu, type ManagementToIo, type ManagementToManagement } from "../wire/control.js";
import { keepConnected, type KeptLink, type Peer } from "./transport.js";

export type ParsedControl = ReturnType<typeof parseControl>;

export interface LinkHooks {
  connected(module: string): void;
  /** `incarnation`: of the module that says it. */
  message(module: string, message: ParsedControl, incarnation: number): void;
  disconnected(module: string): void;
}

export class ManagementLinks {
  readonly #peers = new Map<string, Peer>();
  readonly #links = new Map<string, KeptLink>();

  constructor(
    runDirectory: string,
    self: { readonly name: string; readonly incarnation: number },
    modules: readonly string[],
    hooks: LinkHooks,
  ) {
    const identity = { module: "management", ...self } as const;
    for (const module of modules) {
      const accept = (peer: Peer): Parameters<Peer["attach"]>[0] => {
        this.#peers.set(module, peer);
        // The hello of the handshake is still being handled: talk at the next turn.
        setImmediate(() => {
          if (this.#peers.get(module) === peer) hooks.connected(module);
        });
        return {
          onMessage: (message) => {
            if (message.kind === "control") this.#deliver(module, peer, message.text, hooks);
          },
          onClose: () => {
            if (this.#peers.get(module) !== peer) return;
            this.#peers.delete(module);
            hooks.disconnected(module);
          },
        };
      };
      this.#links.set(module, keepConnected(`${runDirectory}/${module}.sock`, identity, accept));
    }
  }

  /** The module was started. */
  soon(module: string): void {
    this.#links.get(module)?.soon();
  }

  isConnected(module: string): boolean {
    return this.#peers.has(module);
  }

  /** False: not connected, and nothing was sent. */
  send(module: string, message: ManagementToIo | ManagementToCpu | ManagementToManagement): boolean {
    const peer = this.#peers.get(module);
    if (peer === undefined) return false;
    peer.send({ kind: "control", text: JSON.stringify(message) });
    return true;
  }

  close(): void {
    for (const link of this.#links.values()) link.close();
  }

  #deliver(module: string, peer: Peer, text: string, hooks: LinkHooks): void {
    let message: ParsedControl;
    try {
      message = parseControl(text);
    } catch (error) {
      peer.close(`it sent a bad control message: ${(error as Error).message}`);
      return;
    }
    hooks.message(module, message, peer.hello.incarnation);
  }
}
