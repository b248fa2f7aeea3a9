/** xterm.js in a place of the page. */
import { FitAddon } from "@xterm/addon-fit";
import { Terminal } from "@xterm/xterm";
import { withAdoptedStyles } from "./adopted-styles.js";

const SCROLLBACK_LINES = 5000;
const LEAVE_KEY = "F6";

export class GuestTerminal {
  readonly #terminal: Terminal;
  readonly #resized: ResizeObserver;
  readonly #styles: { remove(): void };

  /** @param leave the key that leaves was pressed: the focus belongs elsewhere */
  constructor(place: HTMLElement, send: (bytes: Uint8Array<ArrayBuffer>) => void, leave: () => void) {
    const fit = new FitAddon();
    const encoder = new TextEncoder();
    this.#terminal = new Terminal({
      scrollback: SCROLLBACK_LINES,
      screenReaderMode: true,
      fontSize: 13,
      fontFamily: getComputedStyle(place).getPropertyValue("--mono"),
      theme: { background: "#0b1117", foreground: "#d7e0e8", cursor: "#ffb347" },
    });
    this.#terminal.loadAddon(fit);
    this.#styles = withAdoptedStyles(() => this.#terminal.open(place));
    this.#terminal.onData((text) => send(encoder.encode(text)));
    this.#terminal.attachCustomKeyEventHandler((event) => {
      if (event.key !== LEAVE_KEY) return true;
      if (event.type === "keydown") leave();
      event.preventDefault();
      return false;
    });
    this.#resized = new ResizeObserver(() => fit.fit());
    this.#resized.observe(place);
    fit.fit();
    this.#terminal.focus();
  }

  write(bytes: Uint8Array): void {
    this.#terminal.write(bytes);
  }

  clear(): void {
    this.#terminal.reset();
  }

  dispose(): void {
    this.#resized.disconnect();
    this.#terminal.dispose();
    this.#styles.remove();
  }
}
