/**
 * xterm.js writes rules into style elements that it makes, which our content security policy refuses. Adopted style sheets are not
 * inline styles: what such an element is to contain goes to one of those.
 */
export function withAdoptedStyles(open: () => void): { remove(): void } {
  const sheets: CSSStyleSheet[] = [];
  const create = document.createElement.bind(document);
  const createElement = (name: string, options?: ElementCreationOptions): HTMLElement => {
    if (name !== "style") return create(name, options);
    // Even an empty style element would be refused, and said so in the browser's log.
    const element = create("template");
    sheets.push(redirect(element));
    return element;
  };
  Object.defineProperty(document, "createElement", { value: createElement, configurable: true });
  try {
    open();
  } finally {
    Reflect.deleteProperty(document, "createElement");
  }
  document.adoptedStyleSheets.push(...sheets);
  return {
    remove: () => {
      document.adoptedStyleSheets = document.adoptedStyleSheets.filter((sheet) => !sheets.includes(sheet));
    },
  };
}

function redirect(element: HTMLElement): CSSStyleSheet {
  const sheet = new CSSStyleSheet();
  let text = "";
  Object.defineProperty(element, "textContent", {
    get: () => text,
    set: (rules: string) => {
      text = rules;
      sheet.replaceSync(rules);
    },
  });
  return sheet;
}
