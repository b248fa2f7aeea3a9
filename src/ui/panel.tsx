import { useEffect, useMemo, useState } from "preact/hooks";
import type { Confirmation } from "../view/actions.js";
import { headline } from "../view/chassis.js";
import { connectionText } from "../view/connection.js";
import { announcement } from "../view/event-log.js";
import type { ModuleView, ReportView } from "../view/report.js";
import { mayOperate, type ConsoleState } from "../view/state.js";
import { Charts } from "./charts.js";
import { Chassis } from "./chassis.js";
import { ConfirmDialog } from "./confirm-dialog.js";
import { DrillDialog } from "./drill-dialog.js";
import { Events } from "./events.js";
import { GuestConsole } from "./guest-console.js";
import { request, type Session } from "./session.js";
import { StatusBand } from "./status-band.js";
import { applyTheme, storedTheme, THEMES, type Theme } from "./theme.js";
import { useConsole, useHistory } from "./use-console.js";
import { Wordmark } from "./wordmark.js";

interface PanelProps {
  readonly session: Session;
  readonly onSignOut: (notice: string) => void;
}

export function Panel({ session, onSignOut }: PanelProps) {
  const state = useConsole(session.token, () => onSignOut("The token is not good any more."));
  const [theme, setTheme] = useState<Theme>(storedTheme);
  const { report } = state;
  useEffect(() => applyTheme(theme), [theme]);
  useEffect(() => {
    if (report !== null) document.title = `${headline(report).word} · ${report.server} · Steadfast`;
  }, [report]);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the chassis
      </a>
      <TopBar session={session} state={state} theme={theme} onTheme={setTheme} onSignOut={() => onSignOut("")} />
      <ReconnectBanner state={state} />
      <Announcer state={state} />
      <main id="main" tabIndex={-1}>
        <h1 class="sr-only">{report === null ? "Server" : `Server ${report.server}`}</h1>
        {report === null ? <p class="waiting">Waiting for the first report…</p> : <Instruments {...{ session, state, report, theme }} />}
      </main>
    </>
  );
}

interface InstrumentsProps {
  readonly session: Session;
  readonly state: ConsoleState;
  readonly report: ReportView;
  readonly theme: Theme;
}

type Asked = { readonly kind: "confirm"; readonly confirmation: Confirmation } | { readonly kind: "drill"; readonly module: ModuleView };

function Instruments({ session, state, report, theme }: InstrumentsProps) {
  const [asked, setAsked] = useState<Asked | null>(null);
  const history = useHistory(report, state.connection.kind === "connected");
  const moduleNames = report.modules.map((module) => module.name).join(" ");
  // Reports come several times a second; what they do not change is not drawn again.
  const charts = useMemo(() => <Charts history={history} theme={theme} />, [history, theme]);
  const log = useMemo(() => <Events events={state.events} modules={moduleNames.split(" ")} />, [state.events, moduleNames]);
  const isOperator = mayOperate(session.role);
  const confirm = isOperator ? (confirmation: Confirmation): void => setAsked({ kind: "confirm", confirmation }) : null;
  const perform = async ({ action }: Confirmation): Promise<void> => {
    await request(session.token, action.path, action.body);
  };
  const close = (): void => setAsked(null);
  return (
    <>
      <StatusBand report={report} confirm={confirm} />
      <Chassis report={report} operator={{ confirm, drill: (module) => setAsked({ kind: "drill", module }) }} />
      {charts}
      {log}
      {isOperator && <GuestConsole token={session.token} />}
      {asked?.kind === "confirm" && (
        <ConfirmDialog key={asked.confirmation.title} confirmation={asked.confirmation} perform={perform} onClose={close} />
      )}
      {asked?.kind === "drill" && (
        <DrillDialog
          module={asked.module}
          report={report}
          onChosen={(confirmation) => setAsked({ kind: "confirm", confirmation })}
          onClose={close}
        />
      )}
    </>
  );
}

interface TopBarProps {
  readonly session: Session;
  readonly state: ConsoleState;
  readonly theme: Theme;
  readonly onTheme: (theme: Theme) => void;
  readonly onSignOut: () => void;
}

function TopBar({ session, state, theme, onTheme, onSignOut }: TopBarProps) {
  return (
    <header class="top-bar">
      <Wordmark />
      <span class="server-name">{state.report?.server ?? ""}</span>
      <span class={`link is-${state.connection.kind}`}>{state.connection.kind === "connected" ? "● Live" : "○ Not connected"}</span>
      <span class="who">
        {session.name} <span class="badge">{session.role}</span>
      </span>
      <label class="theme">
        <span class="sr-only">Colours</span>
        <select value={theme} onChange={(event) => onTheme(event.currentTarget.value as Theme)}>
          {THEMES.map((each) => (
            <option key={each} value={each}>
              {each === "system" ? "system colours" : each}
            </option>
          ))}
        </select>
      </label>
      <button type="button" onClick={onSignOut}>
        Sign out
      </button>
    </header>
  );
}

function ReconnectBanner({ state }: { readonly state: ConsoleState }) {
  const { connection } = state;
  return (
    <div class="banner" role="status">
      {connection.kind === "reconnecting" && <p>{connectionText(connection)}</p>}
    </div>
  );
}

/** Says aloud what changed: redundancy, and events worth it. What the log held before is not news. */
function Announcer({ state: { report, events } }: { readonly state: ConsoleState }) {
  const [firstId, setFirstId] = useState<number | null>(null);
  useEffect(() => {
    if (firstId === null && report !== null) setFirstId(report.lastEventId);
  }, [report, firstId]);
  const newest = events.at(-1);
  const isNews = newest !== undefined && firstId !== null && newest.id > firstId;
  return (
    <>
      <p class="sr-only" role="status">
        {report === null ? "" : `Redundancy ${headline(report).word}, guest ${report.guest}.`}
      </p>
      <p class="sr-only" role="log" aria-live="polite">
        {isNews ? announcement(newest) : ""}
      </p>
    </>
  );
}
