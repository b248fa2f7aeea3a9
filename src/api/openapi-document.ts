/** Makes OpenAPI 3.1 documents of operations and the schemas that check their requests. */
import { z } from "zod";

/** Text or bytes of a content type that no schema says more about. */
export interface Content {
  readonly contentType: string;
}

export interface Operation<Name extends string> {
  readonly method: "get" | "post" | "delete";
  /** As OpenAPI writes it: with `{name}` for what varies. */
  readonly path: string;
  readonly id: string;
  readonly summary: string;
  /** Names of schemas; a POST without a body takes an empty object. */
  readonly body?: Name | Content;
  /** By status. */
  readonly answers: Readonly<Record<number, Name | Content>>;
  readonly query?: Readonly<Record<string, string>>;
}

export interface Api<Name extends string> {
  readonly title: string;
  /** Of the package. */
  readonly version: string;
  readonly servers: readonly object[];
  readonly security: readonly object[];
  /** Of the bearer token. */
  readonly tokenDescription: string;
  /** Of what varies in a path. */
  readonly pathDescription: string;
  /** By their names in the document. */
  readonly schemas: Readonly<Record<Name, z.ZodType>>;
  readonly operations: readonly Operation<Name>[];
}

type Json = Record<string, unknown>;

/** @returns by name, with references to each other as OpenAPI wants them. */
function componentSchemas(found: Readonly<Record<string, z.ZodType>>): Json {
  const registry = z.registry<{ id?: string | undefined }>();
  for (const [id, schema] of Object.entries(found)) registry.add(schema, { id });
  const { schemas } = z.toJSONSchema(registry, { io: "input", uri: (id) => reference(id) });
  const withoutAddress = Object.entries(schemas).map(([id, { $schema: _schema, $id: _id, ...schema }]) => [id, schema] as const);
  return Object.fromEntries(withoutAddress);
}

function reference(name: string): string {
  return `#/components/schemas/${name}`;
}

function content(of: string | Content): Json {
  if (typeof of === "object") {
    const schema = of.contentType === "application/json" ? { type: "object" } : { type: "string" };
    return { [of.contentType]: { schema } };
  }
  return { "application/json": { schema: { $ref: reference(of) } } };
}

function response(status: string, answer: string | Content, isStream: boolean): Json {
  const description = status === "503" ? "Not ready." : "Done.";
  return { description, content: { ...content(answer), ...(isStream && { "text/event-stream": { schema: { type: "string" } } }) } };
}

function operation({ id, path, summary, body, answers: found, query = {} }: Operation<string>, pathDescription: string): Json {
  const inPath = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => {
    return { name, in: "path", required: true, schema: { type: "string" }, description: pathDescription };
  });
  const inQuery = Object.entries(query).map(([name, description]) => ({ name, in: "query", schema: { type: "integer" }, description }));
  const responses = Object.entries(found).map(([status, answer]) => [
    status,
    response(status, answer, typeof answer === "string" && "follow" in query),
  ]);
  return {
    operationId: id,
    summary,
    ...(inPath.length + inQuery.length > 0 && { parameters: [...inPath, ...inQuery] }),
    ...(body !== undefined && { requestBody: { required: false, content: content(body) } }),
    responses: { ...Object.fromEntries(responses), default: { description: "Refused, or it went wrong.", content: content("Error") } },
  };
}

/** `schemas` must have one named Error, of what every refusal answers. */
export function openApiOf<Name extends string>(api: Api<Name>): Json {
  const paths: Record<string, Json> = {};
  for (const each of api.operations) paths[each.path] = { ...paths[each.path], [each.method]: operation(each, api.pathDescription) };
  return {
    openapi: "3.1.0",
    info: { title: api.title, version: api.version, license: { name: "Apache-2.0", identifier: "Apache-2.0" } },
    servers: api.servers,
    security: api.security,
    paths,
    components: {
      schemas: componentSchemas(api.schemas),
      securitySchemes: { token: { type: "http", scheme: "bearer", description: api.tokenDescription } },
    },
  };
}

/** Whether it is a request of these operations; and which, with what stands in its path. */
export function operationOf<Name extends string>(
  operations: readonly Operation<Name>[],
): (method: string, path: string) => { readonly id: string; readonly values: readonly string[] } | null {
  const known = operations.map(({ id, method, path }) => {
    const pattern = new RegExp(`^${path.replaceAll(".", "\\.").replace(/\{\w+\}/g, "([^/]+)")}$`);
    return { id, method: method.toUpperCase(), pattern };
  });
  return (method, path) => {
    for (const each of known) {
      const match = each.method === method ? each.pattern.exec(path) : null;
      if (match !== null) return { id: each.id, values: match.slice(1) };
    }
    return null;
  };
}
