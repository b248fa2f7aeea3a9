import { useState } from "preact/hooks";
import type { Severity } from "../wire/control.js";
import { eventDetails, EVERYTHING, filterEvents, type EventFilter } from "../view/event-log.js";
import type { EventView } from "../view/report.js";
import { Lamp } from "./lamp.js";

const SHOWN_FIRST = 50;
const SHOWN_MORE = 200;
const LAMPS = { info: "good", warning: "alone", error: "fault" } as const;

interface EventsProps {
  readonly events: readonly EventView[];
  /** Names that one can filter by. */
  readonly modules: readonly string[];
}

export function Events({ events, modules }: EventsProps) {
  const [filter, setFilter] = useState<EventFilter>(EVERYTHING);
  const [shown, setShown] = useState(SHOWN_FIRST);
  const found = filterEvents(events, filter);
  return (
    <section class="events" aria-labelledby="events-title">
      <h2 id="events-title">Events</h2>
      <Filter filter={filter} modules={modules} onChange={setFilter} />
      <p class="hint">
        {found.length} of {events.length} events, newest first
      </p>
      <ol class="event-list">
        {found.slice(0, shown).map((event) => (
          <Event key={event.id} event={event} />
        ))}
      </ol>
      {found.length > shown && (
        <button type="button" onClick={() => setShown(shown + SHOWN_MORE)}>
          Show older ones
        </button>
      )}
    </section>
  );
}

interface FilterProps {
  readonly filter: EventFilter;
  readonly modules: readonly string[];
  readonly onChange: (filter: EventFilter) => void;
}

function Filter({ filter, modules, onChange }: FilterProps) {
  return (
    <div class="filter" role="search" aria-label="Filter of events">
      <label>
        Severity
        <select value={filter.severity} onChange={(event) => onChange({ ...filter, severity: event.currentTarget.value as Severity })}>
          <option value="info">all</option>
          <option value="warning">warnings and errors</option>
          <option value="error">errors</option>
        </select>
      </label>
      <label>
        Module
        <select value={filter.module} onChange={(event) => onChange({ ...filter, module: event.currentTarget.value })}>
          <option value="">all</option>
          {modules.map((name) => (
            <option key={name} value={name}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label class="words">
        Words
        <input type="search" value={filter.words} onInput={(event) => onChange({ ...filter, words: event.currentTarget.value })} />
      </label>
    </div>
  );
}

function Event({ event }: { readonly event: EventView }) {
  const { title, meaning, advice, facts } = eventDetails(event);
  const at = new Date(event.atMs);
  return (
    <li class={`event severity-${event.severity}`} data-event={event.id} data-code={event.code}>
      <details>
        <summary>
          <span class="event-severity">
            <Lamp kind={LAMPS[event.severity]} />
            {event.severity}
          </span>
          <time dateTime={at.toISOString()}>{at.toLocaleTimeString()}</time>
          <span class="event-title">{title}</span>
          <span class="event-text">{event.text}</span>
        </summary>
        <div class="event-more">
          <p>{meaning}</p>
          <p>
            <strong>What to do: </strong>
            {advice === "" ? "nothing." : advice}
          </p>
          <dl class="facts">
            <div>
              <dt>Code</dt>
              <dd>{event.code}</dd>
            </div>
            <div>
              <dt>At</dt>
              <dd>{at.toISOString()}</dd>
            </div>
            {facts.map(([label, value]) => (
              <div key={label}>
                <dt>{label}</dt>
                <dd>{label === "Report" && value.startsWith("/") ? <ReportPath path={value} /> : value}</dd>
              </div>
            ))}
          </dl>
        </div>
      </details>
    </li>
  );
}

/** The file is on the server's host, where a browser has no way to: what it can hand over is the command that runs it again. */
function ReportPath({ path }: { readonly path: string }) {
  return (
    <>
      <code>{path}</code>
      <button type="button" class="small" onClick={() => void navigator.clipboard.writeText(`steadfast replay ${path}`)}>
        Copy the replay command
      </button>
    </>
  );
}
