/** Two bars that lock into each other. */
export function Wordmark() {
  return (
    <span class="wordmark">
      <svg viewBox="0 0 28 24" aria-hidden="true" focusable="false">
        <path class="mark-a" d="M0 3h18v8H0zM10 13h18v8H10z" />
        <path class="mark-b" d="M20 3h8v8h-8zM0 13h8v8H0z" />
      </svg>
      Steadfast
    </span>
  );
}
