// What pages use of the client.
export { Api, call } from "./api.ts";
export { Chat } from "./chat.ts";
export { ApiError, NetworkError, isPassing } from "./errors.ts";
export type { Connection } from "./socket.ts";
export type { Conversation } from "./inbox.ts";
export type { Draft } from "./outbox.ts";
export type { ChatEvent, Message, Person, Session, Subject, Thread } from "./types.ts";
