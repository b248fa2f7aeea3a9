/** Signed in or not: the one decision at the root. */
import { render } from "preact";
import { useEffect, useState } from "preact/hooks";
import { Panel } from "./panel.js";
import { forgetToken, RequestError, signIn, storedToken, type Session } from "./session.js";
import { SignIn } from "./sign-in.js";
import { reconnectPauseMs } from "../view/connection.js";
import { applyTheme, storedTheme } from "./theme.js";
// Of the terminal, too: a style sheet of a part that is fetched later would not come with it.
import "@xterm/xterm/css/xterm.css";
import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/panel.css";
import "./styles/chassis.css";

type Standing =
  | { readonly kind: "resuming"; readonly token: string }
  | { readonly kind: "in"; readonly session: Session }
  | { readonly kind: "out"; readonly notice: string };

function initialStanding(): Standing {
  const token = storedToken();
  return token === null ? { kind: "out", notice: "" } : { kind: "resuming", token };
}

function Root() {
  const [standing, setStanding] = useState<Standing>(initialStanding);
  useEffect(() => {
    if (standing.kind !== "resuming") return undefined;
    const stop = new AbortController();
    void resume(standing.token, setStanding, stop.signal);
    return () => stop.abort();
  }, [standing.kind]);
  const signOut = (notice: string): void => {
    forgetToken();
    setStanding({ kind: "out", notice });
  };
  switch (standing.kind) {
    case "resuming":
      return <p class="waiting">Signing in…</p>;
    case "out":
      return <SignIn notice={standing.notice} onSession={(session) => setStanding({ kind: "in", session })} />;
    case "in":
      return <Panel session={standing.session} onSignOut={signOut} />;
  }
}

/** After a reload. A server that cannot be reached at this moment does not sign anybody out. */
async function resume(token: string, setStanding: (standing: Standing) => void, signal: AbortSignal): Promise<void> {
  for (let attempt = 1; !signal.aborted; attempt += 1) {
    try {
      return setStanding({ kind: "in", session: await signIn(token) });
    } catch (error) {
      if (error instanceof RequestError && error.status === 401) {
        forgetToken();
        return setStanding({ kind: "out", notice: "The token is not good any more." });
      }
    }
    await new Promise((resolve) => setTimeout(resolve, reconnectPauseMs(attempt, Math.random())));
  }
}

applyTheme(storedTheme());
const place = document.getElementById("console");
if (place === null) throw new Error("index.html has no place for the console");
place.replaceChildren();
render(<Root />, place);
