import tseslint from "typescript-eslint";

const pureLayer = [
  "src/foundation/**/*.ts",
  "src/wire/**/*.ts",
  "src/lockstep/**/*.ts",
  "src/storage/**/*.ts",
  "src/recording/**/*.ts",
  "src/simulator/**/*.ts",
  "src/agent/**/*.ts",
  "src/installation/**/*.ts",
  "src/support/**/*.ts",
  "src/view/**/*.ts",
  "src/access/**/*.ts",
  "src/qualification/grading/**/*.ts",
  "src/programme/queue/**/*.ts",
  "src/machine/*.ts",
];
/** Rooms of the pure layer whose one adapter lives beside them. */
const adapters = ["src/simulator/main.ts", "src/recording/files.ts"];

/** What the compiler cannot ban in the pure layer: sources of time, randomness and asynchrony that are part of the language. */
const pureRules = {
  "no-restricted-globals": ["error", "Date", "Promise", "performance", "setTimeout", "setInterval", "queueMicrotask"],
  "no-restricted-properties": ["error", { object: "Math", property: "random", message: "Randomness enters the pure layer as an event." }],
  "no-restricted-syntax": [
    "error",
    { selector: "AwaitExpression", message: "Protocol code is synchronous: step(state, event) -> effects." },
    { selector: "FunctionDeclaration[async=true]", message: "Protocol code is synchronous." },
  ],
  "no-restricted-imports": [
    "error",
    { patterns: ["node:*", "**/modules/**", "**/ports/**", "**/cli/**", "**/arbiters/**", "**/image/**", "**/certification/**"] },
  ],
};

export default tseslint.config(
  { ignores: ["dist/**", "dist-test/**", "node_modules/**", "src/machine/engines/rv64/assembly/**", "src/client/api-types.ts"] },
  ...tseslint.configs.recommended,
  {
    files: ["src/**/*.ts", "src/**/*.tsx", "test/**/*.ts"],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": "error",
      "@typescript-eslint/await-thenable": "error",
      "@typescript-eslint/no-unused-vars": ["error", { argsIgnorePattern: "^_", varsIgnorePattern: "^_" }],
      "@typescript-eslint/switch-exhaustiveness-check": ["error", { considerDefaultExhaustiveForUnions: true }],
      eqeqeq: "error",
      "no-console": "off",
      "max-lines": ["error", { max: 500, skipBlankLines: true, skipComments: true }],
      "max-lines-per-function": ["error", { max: 75, skipBlankLines: true, skipComments: true }],
    },
  },
  { files: ["test/**/*.ts"], rules: { "max-lines-per-function": "off", "@typescript-eslint/no-floating-promises": "off" } },
  { files: pureLayer, ignores: adapters, rules: pureRules },
);
