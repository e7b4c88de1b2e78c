import tseslint from "typescript-eslint"

const bannedInSource = [
  {
    selector: "MemberExpression[object.name='Date'][property.name='now']",
    message: "Time comes from the Clock."
  },
  {
    selector: "NewExpression[callee.name='Date'][arguments.length=0]",
    message: "Time comes from the Clock."
  },
  {
    selector: "MemberExpression[object.name='Math'][property.name='random']",
    message: "Randomness comes from Random."
  },
  {
    selector: "MemberExpression[object.name='process'][property.name='env']",
    message: "Settings come from Config."
  }
]

export default tseslint.config(
  { ignores: ["dist/", "data/", "node_modules/"] },
  tseslint.configs.base,
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/consistent-type-imports": ["error", { fixStyle: "separate-type-imports" }],
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      "@typescript-eslint/require-await": "off"
    }
  },
  {
    files: ["src/**/*.ts"],
    rules: {
      "no-console": "error",
      "no-restricted-syntax": ["error", ...bannedInSource],
      "@typescript-eslint/no-explicit-any": "error",
      "@typescript-eslint/ban-ts-comment": "error"
    }
  },
  {
    files: ["src/protocol/**/*.ts"],
    rules: {
      "no-restricted-imports": [
        "error",
        { patterns: ["node:*", "@effect/*", "*/storage/*", "*/host/*", "*/guest/*"] }
      ]
    }
  },
  {
    files: ["src/storage/**/*.ts"],
    rules: { "no-restricted-imports": ["error", { patterns: ["*/host/*", "*/guest/*"] }] }
  },
  { files: ["src/host/**/*.ts"], rules: { "no-restricted-imports": ["error", { patterns: ["*/guest/*"] }] } },
  { files: ["src/guest/**/*.ts"], rules: { "no-restricted-imports": ["error", { patterns: ["*/host/*"] }] } }
)
