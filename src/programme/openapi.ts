/** The programme's requests, and the OpenAPI document of them. */
import { openApiOf, type Operation } from "../api/openapi-document.js";
import * as answers from "./answers.js";

const SCHEMAS = {
  Submission: answers.submissionSchema,
  Submissions: answers.submissionsSchema,
  Progress: answers.progressSchema,
  Finding: answers.findingSchema,
  CertifiedChange: answers.certifiedSchema,
  Catalogue: answers.catalogueSchema,
  Live: answers.liveSchema,
  Error: answers.errorSchema,
} as const;
type Requests = Operation<keyof typeof SCHEMAS>;

export const PACKAGE_CONTENT_TYPE = "application/x-tar";
export const CERTIFICATE_CONTENT_TYPE = "application/vnd.dsse.envelope.v1+json";

export const OPERATIONS = [
  {
    ...{ method: "post", path: "/submissions", id: "submit", summary: "Hands a change in: the package as it is." },
    ...{ body: { contentType: PACKAGE_CONTENT_TYPE }, answers: { 201: "Submission" } },
    query: { digest: "SHA-256 of the package, hex: another one is refused." },
  },
  { method: "get", path: "/submissions", id: "list", summary: "All submissions that are remembered.", answers: { 200: "Submissions" } },
  {
    ...{ method: "get", path: "/submissions/{id}", id: "submission", summary: "One submission.", answers: { 200: "Submission" } },
    query: { follow: "1: server-sent events, the submission whenever it changed, until it has ended." },
  },
  {
    ...{ method: "delete", path: "/submissions/{id}", id: "cancel", answers: { 200: "Submission" } },
    summary: "Cancels a submission that waits or runs: its submitter alone may.",
  },
  {
    ...{ method: "get", path: "/submissions/{id}/report.json", id: "report", summary: "The report of its qualification." },
    answers: { 200: { contentType: "application/json" } },
  },
  {
    ...{ method: "get", path: "/submissions/{id}/report.html", id: "reportPage", summary: "The same as a page, which runs nothing." },
    answers: { 200: { contentType: "text/html" } },
  },
  {
    ...{ method: "get", path: "/catalogue", id: "catalogue", summary: "Certified changes whose certificates hold." },
    ...{ answers: { 200: "Catalogue" }, query: { base: "Only those of the image with this digest." } },
  },
  {
    ...{ method: "get", path: "/certificates/{image}", id: "certificate", summary: "The newest certificate of an image." },
    answers: { 200: { contentType: CERTIFICATE_CONTENT_TYPE } },
  },
  {
    ...{ method: "get", path: "/changes/{digest}", id: "change", summary: "The package of a certified change." },
    answers: { 200: { contentType: PACKAGE_CONTENT_TYPE } },
  },
  { method: "get", path: "/health/live", id: "live", summary: "The programme answers; needs no token.", answers: { 200: "Live" } },
  { method: "get", path: "/openapi.json", id: "openapi", summary: "This document.", answers: { 200: { contentType: "application/json" } } },
] as const satisfies readonly Requests[];

export type OperationId = (typeof OPERATIONS)[number]["id"];

/** @param version of the package */
export function programmeDocument(version: string): Record<string, unknown> {
  return openApiOf<keyof typeof SCHEMAS>({
    ...{ title: "Steadfast certification programme", version, schemas: SCHEMAS, operations: OPERATIONS, security: [{ token: [] }] },
    servers: [
      { url: "https://{address}", description: "`steadfast certify serve`", variables: { address: { default: "localhost:8444" } } },
    ],
    tokenDescription:
      "Made by `steadfast tokens create --directory`. Role view: every GET. Role operate: handing in, and cancelling one's own.",
    pathDescription: "The number of a submission, or a digest.",
  });
}
