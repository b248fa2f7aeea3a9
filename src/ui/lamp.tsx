import type { Lamp as LampKind } from "../view/chassis.js";

/** One shape for each meaning, so that nobody has to tell colours apart. */
const SHAPES = {
  good: <circle cx="8" cy="8" r="6" />,
  working: <path d="M8 2a6 6 0 1 1-6 6h3a3 3 0 1 0 3-3z" />,
  alone: <path d="M8 1.5 15 14H1z" />,
  fault: <path d="M2 2h12v12H2zM5 4 4 5l3 3-3 3 1 1 3-3 3 3 1-1-3-3 3-3-1-1-3 3z" />,
  off: <path d="M8 2a6 6 0 1 1 0 12A6 6 0 0 1 8 2zm0 2a4 4 0 1 0 0 8 4 4 0 0 0 0-8z" />,
} as const;

/** Always beside a text that says the same. */
export function Lamp({ kind }: { readonly kind: LampKind }) {
  return (
    <svg class={`lamp lamp-${kind}`} viewBox="0 0 16 16" aria-hidden="true" focusable="false">
      {SHAPES[kind]}
    </svg>
  );
}
