//! ZMTP, the wire of ZeroMQ, as a PULL socket reads it: bytes in, messages and replies out, no sockets here.
//!
//! The pusher port is open to whatever a shop's machine sends, so this is strict and bounded: every length is
//! checked before anything is kept, and nothing is buffered beyond one frame. [`crate::intake`] owns the sockets.
//!
//! Spoken: ZMTP 3.1 (RFC 37/ZMTP; libzmq from 4.3.3), 3.0 (RFC 23/ZMTP; libzmq from 4.0) and 2.0 (RFC 15/ZMTP;
//! libzmq 3.2), with the NULL mechanism and peers that PUSH (RFC 30/PIPELINE).

use bytes::{Buf, Bytes, BytesMut};

/// `%xFF 8%x00 %x7F`, then the major version. Sent at accept: libzmq waits for the signature before it says more,
/// and for the version before it picks its own.
pub const OPENING: [u8; 11] = [0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3];

/// The longest command taken (READY with metadata, PING, ERROR).
const MAX_COMMAND_BYTES: usize = 8192;

/// The longest context of a PING (RFC 37/ZMTP).
const MAX_PING_CONTEXT: usize = 16;

const SIGNATURE_LENGTH: usize = 10;
const VERSION_3_REST: usize = 53;

const MORE: u8 = 0x01;
const LONG: u8 = 0x02;
const COMMAND: u8 = 0x04;

/// The numbers of socket types in ZMTP 2.0.
const V2_PULL: u8 = 7;
const V2_PUSH: u8 = 8;

/// Something that a peer sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// A message of one frame.
    Message(Bytes),
    /// A message of several frames has ended; its content was let go.
    Multipart,
}

/// Why a peer is closed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ZmtpError {
    /// The first bytes are not ZMTP's.
    #[error("not ZMTP{}", guess(*.0))]
    NotZmtp(u8),
    /// A version before 2.0, or one that is not known.
    #[error("ZMTP version {0} is not supported")]
    Version(u8),
    /// PLAIN, CURVE or GSSAPI.
    #[error("mechanism {0} is not supported: only NULL is")]
    Mechanism(String),
    /// A socket that does not PUSH.
    #[error("socket type {0} cannot push here: only PUSH can")]
    SocketType(String),
    /// The peer says that something is wrong.
    #[error("the peer reports: {0}")]
    Peer(String),
    /// A frame over the limit.
    #[error("a frame of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// What the header announced.
        length: u64,
        /// What is allowed.
        limit: usize,
    },
    /// Anything else that ZMTP does not allow.
    #[error("{0}")]
    Protocol(&'static str),
}

fn guess(first: u8) -> &'static str {
    match first {
        0x16 => ": looks like TLS; this port speaks plain ZeroMQ",
        b'A'..=b'Z' => ": looks like HTTP; the WebSocket port is another one",
        _ => "",
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Signature,
    Version,
    /// The rest of a 3.x greeting.
    Greeting,
    /// The socket type of a 2.0 peer.
    V2SocketType,
    /// The identity frame of a 2.0 peer.
    V2Identity,
    /// A 3.x peer's READY.
    Ready,
    Traffic {
        v2: bool,
    },
}

#[derive(Debug)]
struct Header {
    flags: u8,
    length: usize,
    /// Bytes that the header itself takes.
    size: usize,
}

/// One peer's side of the wire.
#[derive(Debug)]
pub struct Peer {
    state: State,
    max_frame_bytes: usize,
    in_multipart: bool,
    /// Bytes of an unwanted part that are still to come.
    skip: usize,
}

impl Peer {
    /// A peer that has just connected; send it [`OPENING`].
    #[must_use]
    pub fn new(max_frame_bytes: usize) -> Self {
        Self { state: State::Signature, max_frame_bytes, in_multipart: false, skip: 0 }
    }

    /// Whether the handshake is done.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Traffic { .. })
    }

    /// Takes what can be taken from `input`; `None` when more bytes are needed. What must be sent to the peer is
    /// put into `replies`, also when this fails.
    ///
    /// # Errors
    /// [`ZmtpError`]: send the replies and close.
    pub fn receive(
        &mut self,
        input: &mut BytesMut,
        replies: &mut Vec<u8>,
    ) -> Result<Option<Incoming>, ZmtpError> {
        loop {
            if self.skip > 0 {
                let gone = self.skip.min(input.len());
                input.advance(gone);
                self.skip -= gone;
                if self.skip > 0 {
                    return Ok(None);
                }
            }
            let progress = match self.state {
                State::Signature => self.signature(input)?,
                State::Version => self.version(input, replies)?,
                State::Greeting => self.greeting(input, replies)?,
                State::V2SocketType => self.v2_socket_type(input)?,
                State::V2Identity => self.v2_identity(input)?,
                State::Ready => self.frame(input, replies)?,
                State::Traffic { .. } => self.frame(input, replies)?,
            };
            match progress {
                Progress::Wait => return Ok(None),
                Progress::On => {}
                Progress::Got(incoming) => return Ok(Some(incoming)),
            }
        }
    }

    fn signature(&mut self, input: &mut BytesMut) -> Result<Progress, ZmtpError> {
        match input.first() {
            Some(0xff) => {}
            Some(&first) => return Err(ZmtpError::NotZmtp(first)),
            None => return Ok(Progress::Wait),
        }
        // The eight bytes between are the length that a 1.0 peer would read: any value.
        match input.get(SIGNATURE_LENGTH - 1) {
            None => Ok(Progress::Wait),
            Some(0x7f) => {
                input.advance(SIGNATURE_LENGTH);
                self.state = State::Version;
                Ok(Progress::On)
            }
            Some(_) => Err(ZmtpError::NotZmtp(0xff)),
        }
    }

    fn version(
        &mut self,
        input: &mut BytesMut,
        replies: &mut Vec<u8>,
    ) -> Result<Progress, ZmtpError> {
        let Some(&major) = input.first() else { return Ok(Progress::Wait) };
        input.advance(1);
        match major {
            // The revision of ZMTP 2.0 (libzmq 3.2) and of 2.1.
            1 | 2 => {
                // Our socket type, and an identity frame without an identity.
                replies.extend_from_slice(&[V2_PULL, 0, 0]);
                self.state = State::V2SocketType;
                Ok(Progress::On)
            }
            // Whoever is newer speaks 3.1 with us (RFC 37/ZMTP, version negotiation).
            3.. => {
                let mut rest = [0; VERSION_3_REST];
                rest.iter_mut().zip(b"\x01NULL").for_each(|(to, from)| *to = *from);
                replies.extend_from_slice(&rest);
                self.state = State::Greeting;
                Ok(Progress::On)
            }
            0 => Err(ZmtpError::Version(0)),
        }
    }

    fn greeting(
        &mut self,
        input: &mut BytesMut,
        replies: &mut Vec<u8>,
    ) -> Result<Progress, ZmtpError> {
        if input.len() < VERSION_3_REST {
            return Ok(Progress::Wait);
        }
        let rest = input.split_to(VERSION_3_REST);
        let mechanism = rest.get(1..21).unwrap_or_default();
        let name_length = mechanism.iter().position(|&byte| byte == 0).unwrap_or(mechanism.len());
        let (name, padding) = mechanism.split_at(name_length);
        if name != b"NULL" || padding.iter().any(|&byte| byte != 0) {
            return Err(ZmtpError::Mechanism(printable(name)));
        }
        command(replies, b"READY", &[b"\x0bSocket-Type", &4_u32.to_be_bytes(), b"PULL"]);
        self.state = State::Ready;
        Ok(Progress::On)
    }

    fn v2_socket_type(&mut self, input: &mut BytesMut) -> Result<Progress, ZmtpError> {
        let Some(&socket_type) = input.first() else { return Ok(Progress::Wait) };
        if socket_type != V2_PUSH {
            return Err(ZmtpError::SocketType(format!("number {socket_type}")));
        }
        input.advance(1);
        self.state = State::V2Identity;
        Ok(Progress::On)
    }

    fn v2_identity(&mut self, input: &mut BytesMut) -> Result<Progress, ZmtpError> {
        let [flags, length, ..] = input[..] else { return Ok(Progress::Wait) };
        if flags != 0 {
            return Err(ZmtpError::Protocol("malformed identity frame"));
        }
        let size = 2 + usize::from(length);
        if input.len() < size {
            return Ok(Progress::Wait);
        }
        input.advance(size);
        self.state = State::Traffic { v2: true };
        Ok(Progress::On)
    }

    fn frame(
        &mut self,
        input: &mut BytesMut,
        replies: &mut Vec<u8>,
    ) -> Result<Progress, ZmtpError> {
        let Some(header) = self.header(input)? else { return Ok(Progress::Wait) };
        if header.flags & COMMAND == 0 && (header.flags & MORE != 0 || self.in_multipart) {
            // Parts are let go as they come, so that a message of many parts costs no memory.
            input.advance(header.size);
            self.skip = header.length;
            self.in_multipart = header.flags & MORE != 0;
            return Ok(if self.in_multipart {
                Progress::On
            } else {
                Progress::Got(Incoming::Multipart)
            });
        }
        if input.len() - header.size < header.length {
            // Only what was checked against the limit is ever reserved.
            input.reserve(header.size + header.length - input.len());
            return Ok(Progress::Wait);
        }
        input.advance(header.size);
        let body = input.split_to(header.length).freeze();
        if header.flags & COMMAND == 0 {
            return Ok(Progress::Got(Incoming::Message(body)));
        }
        self.command(&body, replies)?;
        Ok(Progress::On)
    }

    /// Reads and checks the next frame's header, without consuming it.
    fn header(&self, input: &[u8]) -> Result<Option<Header>, ZmtpError> {
        let Some((&flags, rest)) = input.split_first() else { return Ok(None) };
        let known = if self.state == (State::Traffic { v2: true }) {
            MORE | LONG
        } else {
            MORE | LONG | COMMAND
        };
        if flags & !known != 0 {
            return Err(ZmtpError::Protocol("reserved bits in a frame's flags are set"));
        }
        let is_command = flags & COMMAND != 0;
        if is_command && flags & MORE != 0 {
            return Err(ZmtpError::Protocol("a command in several parts"));
        }
        if !is_command && self.state == State::Ready {
            return Err(ZmtpError::Protocol("a message before READY"));
        }
        let (length, size) = if flags & LONG == 0 {
            let Some(&length) = rest.first() else { return Ok(None) };
            (u64::from(length), 2)
        } else {
            let Some(length) = rest.first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*length), 9)
        };
        let limit = if is_command { MAX_COMMAND_BYTES } else { self.max_frame_bytes };
        match usize::try_from(length) {
            Ok(length) if length <= limit => Ok(Some(Header { flags, length, size })),
            _ => Err(ZmtpError::TooLong { length, limit }),
        }
    }

    fn command(&mut self, body: &[u8], replies: &mut Vec<u8>) -> Result<(), ZmtpError> {
        let malformed = ZmtpError::Protocol("malformed command");
        let Some((name, data)) = split_short(body) else { return Err(malformed) };
        match name {
            b"READY" if self.state == State::Ready => self.ready(data, replies),
            b"READY" => Err(ZmtpError::Protocol("READY came twice")),
            b"ERROR" => {
                let reason = split_short(data).map(|(reason, _)| printable(reason));
                Err(ZmtpError::Peer(reason.unwrap_or_default()))
            }
            b"PING" => {
                // A time-to-live of two bytes, then the context, which goes back as it came.
                let Some((_ttl, context)) = data.split_at_checked(2) else { return Err(malformed) };
                if context.len() > MAX_PING_CONTEXT {
                    return Err(ZmtpError::Protocol("a PING's context is over 16 bytes"));
                }
                command(replies, b"PONG", &[context]);
                Ok(())
            }
            // PONG (we send no PING) and what later versions may add.
            _ => Ok(()),
        }
    }

    fn ready(&mut self, mut metadata: &[u8], replies: &mut Vec<u8>) -> Result<(), ZmtpError> {
        let malformed = || ZmtpError::Protocol("malformed metadata in READY");
        let mut socket_type: Option<&[u8]> = None;
        while !metadata.is_empty() {
            let (name, rest) = split_short(metadata).ok_or_else(malformed)?;
            if name.is_empty() || !name.iter().all(|&byte| is_name_byte(byte)) {
                return Err(malformed());
            }
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(malformed)?;
            let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| malformed())?;
            let (value, rest) = rest.split_at_checked(length).ok_or_else(malformed)?;
            if name.eq_ignore_ascii_case(b"Socket-Type") && socket_type.replace(value).is_some() {
                return Err(malformed());
            }
            metadata = rest;
        }
        match socket_type {
            Some(b"PUSH") => {
                self.state = State::Traffic { v2: false };
                Ok(())
            }
            other => {
                command(replies, b"ERROR", &[b"\x22only PUSH sockets may connect here"]);
                Err(ZmtpError::SocketType(printable(other.unwrap_or(b"(none)"))))
            }
        }
    }
}

/// What [`Peer::receive`] does next.
enum Progress {
    /// Needs more bytes.
    Wait,
    /// Goes on with what is there.
    On,
    /// Has something for the caller.
    Got(Incoming),
}

/// Splits off a text that is preceded by its length in one byte.
fn split_short(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    rest.split_at_checked(usize::from(length))
}

/// The characters of a property's name (RFC 23/ZMTP, grammar).
fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte)
}

/// For logs: what a stranger sent, cut and without control characters.
fn printable(bytes: &[u8]) -> String {
    bytes.iter().take(64).flat_map(|byte| byte.escape_ascii()).map(char::from).collect()
}

/// Appends a command frame; ours are all short.
fn command(replies: &mut Vec<u8>, name: &[u8], parts: &[&[u8]]) {
    let length = 1 + name.len() + parts.iter().map(|part| part.len()).sum::<usize>();
    let short = |length: usize| u8::try_from(length).unwrap_or(u8::MAX);
    replies.extend_from_slice(&[COMMAND, short(length), short(name.len())]);
    replies.extend_from_slice(name);
    parts.iter().for_each(|part| replies.extend_from_slice(part));
}

#[cfg(test)]
mod tests;
