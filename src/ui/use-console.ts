/** The state of the console as hooks: what was heard, and the history that the charts show. */
import { useEffect, useReducer, useRef, useState } from "preact/hooks";
import { HIDDEN_LIMIT_MS } from "../view/connection.js";
import { addSample, EMPTY_HISTORY, SAMPLE_INTERVAL_MS, type History } from "../view/history.js";
import type { ReportView } from "../view/report.js";
import { hear, INITIAL_STATE, lastEventId, type ConsoleState, type Heard } from "../view/state.js";
import { ServerLink } from "./server-link.js";

export function useConsole(token: string, onRefused: () => void): ConsoleState {
  const [state, dispatch] = useReducer((now: ConsoleState, heard: readonly Heard[]) => heard.reduce(hear, now), INITIAL_STATE);
  const latest = useRef(state);
  latest.current = state;
  useEffect(() => {
    // What arrives before it is drawn counts too: the next stream begins after it.
    let heardId = 0;
    const connect = (): ServerLink =>
      new ServerLink(token, {
        heard: (heard) => {
          for (const each of heard) if (each.kind === "event") heardId = Math.max(heardId, each.event.id);
          dispatch(heard);
        },
        refused: onRefused,
        lastEventId: () => Math.max(heardId, lastEventId(latest.current)),
      });
    let link: ServerLink | null = connect();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const visibilityChanged = (): void => {
      clearTimeout(timer);
      if (!document.hidden) link ??= connect();
      else
        timer = setTimeout(() => {
          link?.close();
          link = null;
        }, HIDDEN_LIMIT_MS);
    };
    document.addEventListener("visibilitychange", visibilityChanged);
    return () => {
      document.removeEventListener("visibilitychange", visibilityChanged);
      clearTimeout(timer);
      link?.close();
    };
  }, [token]);
  return state;
}

/** One sample each SAMPLE_INTERVAL_MS of what was heard since the last one. */
export function useHistory(report: ReportView | null, isConnected: boolean): History {
  const [history, setHistory] = useState<History>(EMPTY_HISTORY);
  const now = useRef({ report, isConnected });
  now.current = { report, isConnected };
  useEffect(() => {
    const timer = setInterval(() => {
      const { report: newest, isConnected: isHeard } = now.current;
      setHistory((before) => addSample(before, Date.now(), isHeard ? newest : null));
    }, SAMPLE_INTERVAL_MS);
    return () => clearInterval(timer);
  }, []);
  return history;
}
