import { call, type Person, type Session, type Subject } from "../client/index.ts";

/** What `POST demo/session` answers: a token for one of the two pretend people. */
export interface DemoSession extends Session {
  user: { id: string; name: string; role: string };
  vendor: Person;
  subject: Subject;
}

// Relative to the page, so that it also works below a prefix such as /chat/.
export const BASE = "";

export const demoSession = (as: "customer" | "vendor"): Promise<DemoSession> =>
  call<DemoSession>("POST", `${BASE}demo/session`, { as });
