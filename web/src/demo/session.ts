import { call, type Person, type Session, type Subject } from "../client/index.ts";

/** What `POST demo/session` answers: a token for one of the two pretend people. */
export interface DemoSession extends Session {
  user: { id: string; name: string; role: string };
  vendor: Person;
  subject: Subject;
  /** The shop's word that there is such a product; it covers the subject as it stands. */
  subject_signature?: string | null;
}

// Relative to the page, so that it also works below a prefix such as /chat/.
export const BASE = "";

export const demoSession = (as: "customer" | "vendor"): Promise<DemoSession> =>
  call<DemoSession>("POST", `${BASE}demo/session`, { as });
