import { useEffect, useRef, useState } from "preact/hooks";
import { reconnectPauseMs } from "../view/connection.js";
import type { GuestTerminal } from "./terminal.js";
import { request } from "./session.js";

interface GuestConsoleProps {
  readonly token: string;
}

/** The terminal is fetched when somebody opens it first: most visits do without. */
export function GuestConsole({ token }: GuestConsoleProps) {
  const [isOpen, setOpen] = useState(false);
  const [state, setState] = useState("closed");
  const place = useRef<HTMLDivElement>(null);
  const toggle = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    const element = place.current;
    if (!isOpen || element === null) return undefined;
    return openConsole(token, element, setState, () => toggle.current?.focus());
  }, [isOpen, token]);
  return (
    <section class="guest-console" aria-labelledby="guest-console-title">
      <h2 id="guest-console-title">Guest console</h2>
      <div class="console-bar">
        <button ref={toggle} type="button" aria-expanded={isOpen} onClick={() => setOpen(!isOpen)}>
          {isOpen ? "Close the console" : "Open the console"}
        </button>
        <span role="status">{isOpen ? state : "closed"}</span>
        {isOpen && (
          <span class="hint">
            Keys go to the guest; <kbd>F6</kbd> leaves the terminal.
          </span>
        )}
      </div>
      {isOpen && <div ref={place} class="terminal-place" />}
    </section>
  );
}

function openConsole(token: string, element: HTMLElement, setState: (state: string) => void, leave: () => void): () => void {
  let isWanted = true;
  let socket: WebSocket | null = null;
  let terminal: GuestTerminal | null = null;
  let attempt = 0;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const again = (): void => {
    if (!isWanted) return;
    attempt += 1;
    setState(`reconnecting, attempt ${attempt}`);
    timer = setTimeout(() => void connect().catch(again), reconnectPauseMs(attempt, Math.random()));
  };
  const connect = async (): Promise<void> => {
    const { ticket } = (await request(token, "/console-ticket", {})) as { ticket: string };
    if (!isWanted) return;
    const address = new URL(`/console/socket?ticket=${encodeURIComponent(ticket)}`, location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    const opened = new WebSocket(address);
    socket = opened;
    opened.binaryType = "arraybuffer";
    opened.onopen = () => {
      // The server replays what the guest printed lately: it must not stand there twice.
      terminal?.clear();
      attempt = 0;
      setState("connected");
    };
    opened.onmessage = (message) => terminal?.write(new Uint8Array(message.data as ArrayBuffer));
    opened.onclose = again;
  };
  const start = async (): Promise<void> => {
    setState("loading");
    const { GuestTerminal: Terminal } = await import("./terminal.js");
    if (!isWanted) return;
    terminal = new Terminal(element, (bytes) => socket?.readyState === WebSocket.OPEN && socket.send(bytes), leave);
    await connect();
  };
  start().catch(again);
  return () => {
    isWanted = false;
    clearTimeout(timer);
    socket?.close();
    terminal?.dispose();
  };
}
