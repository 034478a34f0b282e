import type { FieldError } from "./types.ts";

/** The API answered, with a problem document. Programs look at `code`. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly errors: FieldError[] = [],
    readonly requestId: string | null = null,
    readonly retryAfterMs: number | null = null,
  ) {
    super(detail);
  }

  /** The same request may succeed later. */
  get passing(): boolean {
    return this.status === 408 || this.status === 429 || this.status >= 500;
  }
}

/** No answer came: the request may or may not have been carried out. */
export class NetworkError extends Error {
  override readonly name = "NetworkError";
}

export const isPassing = (error: unknown): boolean =>
  error instanceof NetworkError || (error instanceof ApiError && error.passing);

/** Reads any answer that is no success, also one that a proxy gave instead of the API. */
export async function problem(response: Response): Promise<ApiError> {
  const body: unknown = await response.json().catch(() => null);
  const fields = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const text = (key: string): string | null => (typeof fields[key] === "string" ? (fields[key] as string) : null);
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  return new ApiError(
    response.status,
    text("code") ?? `http_${response.status}`,
    text("detail") ?? text("title") ?? `HTTP ${response.status}`,
    Array.isArray(fields["errors"]) ? (fields["errors"] as FieldError[]) : [],
    text("request_id") ?? response.headers.get("x-request-id"),
    Number.isFinite(seconds) ? seconds * 1000 : null,
  );
}
