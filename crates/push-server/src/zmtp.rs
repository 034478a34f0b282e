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
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMIT: usize = 1000;

    fn greeting(minor: u8, mechanism: &[u8]) -> Vec<u8> {
        let mut bytes = OPENING.to_vec();
        bytes.push(minor);
        bytes.extend_from_slice(mechanism);
        bytes.resize(64, 0);
        bytes
    }

    fn ready(socket_type: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        let length = u32::try_from(socket_type.len()).unwrap().to_be_bytes();
        command(
            &mut bytes,
            b"READY",
            &[b"\x0bSocket-Type", &length, socket_type.as_bytes(), b"\x08Identity\0\0\0\x02id"],
        );
        bytes
    }

    fn handshake(minor: u8) -> Vec<u8> {
        [greeting(minor, b"NULL"), ready("PUSH")].concat()
    }

    fn v2_handshake() -> Vec<u8> {
        [&OPENING[..10], &[1, V2_PUSH, 0, 2, b'i', b'd']].concat()
    }

    /// Feeds the bytes in pieces; returns what came in, what was replied, and how it ended.
    fn run(bytes: &[u8], piece: usize) -> (Vec<Incoming>, Vec<u8>, Result<Peer, ZmtpError>) {
        let (mut peer, mut input) = (Peer::new(LIMIT), BytesMut::new());
        let (mut got, mut replies) = (Vec::new(), Vec::new());
        for piece in bytes.chunks(piece.max(1)) {
            input.extend_from_slice(piece);
            loop {
                match peer.receive(&mut input, &mut replies) {
                    Ok(Some(incoming)) => got.push(incoming),
                    Ok(None) => break,
                    Err(error) => return (got, replies, Err(error)),
                }
            }
            assert!(input.capacity() <= 4 * (MAX_COMMAND_BYTES + LIMIT + bytes.len()));
        }
        (got, replies, Ok(peer))
    }

    fn message(text: &str) -> Incoming {
        Incoming::Message(Bytes::copy_from_slice(text.as_bytes()))
    }

    #[test]
    fn peers_of_zmtp_3_0_and_3_1_are_accepted_byte_by_byte() {
        for minor in [0, 1] {
            let bytes = [handshake(minor), b"\0\x02{}\0\x01x".to_vec()].concat();
            for piece in [1, 7, 1000] {
                let (got, replies, end) = run(&bytes, piece);
                assert_eq!(got, [message("{}"), message("x")]);
                assert!(end.unwrap().is_ready());
                assert_eq!(&replies[..5], b"\x01NULL");
                assert_eq!(&replies[53..], b"\x04\x1a\x05READY\x0bSocket-Type\0\0\0\x04PULL");
            }
        }
    }

    #[test]
    fn peers_of_zmtp_2_0_are_accepted_without_ready() {
        let bytes = [v2_handshake(), b"\0\x02{}".to_vec()].concat();
        for piece in [1, 1000] {
            let (got, replies, end) = run(&bytes, piece);
            assert_eq!(got, [message("{}")]);
            assert_eq!(replies, [V2_PULL, 0, 0]);
            assert!(end.unwrap().is_ready());
        }
    }

    #[test]
    fn a_ping_is_answered_with_its_context_at_any_time() {
        let ping = b"\x04\x0c\x04PING\0\x64hello".to_vec();
        let pong = b"\x04\x0a\x04PONGhello";
        for bytes in [
            [handshake(0), ping.clone()].concat(),
            [handshake(1), b"\x01\x01a".to_vec(), ping.clone()].concat(),
            [greeting(1, b"NULL"), ping.clone(), ready("PUSH")].concat(),
        ] {
            let (_, replies, end) = run(&bytes, 1);
            assert!(end.is_ok());
            assert!(replies.ends_with(pong), "{replies:?}");
        }
        let long = [handshake(1), b"\x04\x18\x04PING\0\x64".to_vec(), vec![b'x'; 17]].concat();
        assert!(matches!(run(&long, 1).2, Err(ZmtpError::Protocol(_))));
    }

    #[test]
    fn a_multipart_message_is_let_go_as_a_whole() {
        let bytes =
            [handshake(1), b"\x01\x01a\x03\0\0\0\0\0\0\0\x01b\0\x01c\0\x02{}".to_vec()].concat();
        for piece in [1, 1000] {
            assert_eq!(run(&bytes, piece).0, [Incoming::Multipart, message("{}")]);
        }
    }

    #[test]
    fn an_empty_message_is_a_message() {
        assert_eq!(run(&[handshake(1), vec![0, 0]].concat(), 1).0, [message("")]);
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_header() {
        for (flags, length) in
            [(2, 1001), (2, 1 << 40), (2, 1 << 62), (2, u64::MAX), (3, 1 << 62), (6, 8193)]
        {
            let header = [&[flags][..], &u64::to_be_bytes(length)].concat();
            for shake in [handshake(1), v2_handshake()] {
                let end = run(&[shake, header.clone()].concat(), 1).2;
                if flags == 6 {
                    assert!(end.is_err());
                } else {
                    assert_eq!(end.unwrap_err(), ZmtpError::TooLong { length, limit: LIMIT });
                }
            }
        }
        let exact = [handshake(1), vec![2, 0, 0, 0, 0, 0, 0, 3, 232], vec![b'x'; 1000]].concat();
        assert_eq!(run(&exact, 100).0.len(), 1);
    }

    #[test]
    fn other_mechanisms_are_refused_after_our_greeting() {
        for mechanism in ["PLAIN", "CURVE", "NULLX", ""] {
            let (_, replies, end) = run(&greeting(0, mechanism.as_bytes()), 1);
            assert_eq!(end.unwrap_err(), ZmtpError::Mechanism(mechanism.into()));
            assert_eq!(replies.len(), VERSION_3_REST);
        }
    }

    #[test]
    fn other_socket_types_are_told_so() {
        for kind in ["PULL", "PUB", "REQ", "push", ""] {
            let (_, replies, end) = run(&[greeting(1, b"NULL"), ready(kind)].concat(), 1);
            assert_eq!(end.unwrap_err(), ZmtpError::SocketType(kind.into()));
            assert!(replies.ends_with(b"\x05ERROR\x22only PUSH sockets may connect here"));
        }
        let v2 = [&OPENING[..10], &[1, 1]].concat();
        assert!(matches!(run(&v2, 1).2, Err(ZmtpError::SocketType(_))));
    }

    #[test]
    fn malformed_metadata_is_refused() {
        for body in [
            &b"\x0bSocket-Type"[..],
            b"\x0bSocket-Type\0\0\0\x09PUSH",
            b"\0\0\0\0\0",
            b"\x01 \0\0\0\0",
            b"\x0bSocket-Type\0\0\0\x04PUSH\x0bsocket-type\0\0\0\x04PUSH",
        ] {
            let mut bytes = greeting(1, b"NULL");
            command(&mut bytes, b"READY", &[body]);
            assert!(matches!(run(&bytes, 1).2, Err(ZmtpError::Protocol(_))), "{body:?}");
        }
    }

    #[test]
    fn strangers_are_recognised_by_their_first_byte() {
        assert!(run(b"\x16\x03\x01", 1).2.unwrap_err().to_string().contains("TLS"));
        assert!(run(b"G", 1).2.unwrap_err().to_string().contains("HTTP"));
        assert!(run(&[0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x00], 1).2.is_err());
    }

    #[test]
    fn what_the_protocol_does_not_allow_is_refused() {
        for bytes in [
            [greeting(1, b"NULL"), b"\0\x02{}".to_vec()].concat(),
            [handshake(1), ready("PUSH")].concat(),
            [handshake(1), vec![0x08, 0]].concat(),
            [handshake(1), vec![0x05, 0]].concat(),
            [handshake(1), vec![0x04, 0]].concat(),
            [v2_handshake(), vec![0x04, 0]].concat(),
            [&OPENING[..10], &[0]].concat(),
        ] {
            assert!(run(&bytes, 1).2.is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_input_panics_or_grows_past_the_bounds(
            start in 0usize..4,
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(4), any::<u8>()], 0..400),
            piece in 1usize..50,
        ) {
            let start = match start {
                0 => Vec::new(),
                1 => handshake(1),
                2 => v2_handshake(),
                _ => greeting(0, b"NULL"),
            };
            let _ = run(&[start, bytes].concat(), piece);
        }

        #[test]
        fn messages_come_out_as_they_went_in_however_they_are_cut(
            texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..LIMIT), 0..6),
            v2 in any::<bool>(),
            piece in 1usize..700,
        ) {
            let mut bytes = if v2 { v2_handshake() } else { handshake(1) };
            for text in &texts {
                match u8::try_from(text.len()) {
                    Ok(length) => bytes.extend_from_slice(&[0, length]),
                    Err(_) => {
                        bytes.push(LONG);
                        bytes.extend_from_slice(&(text.len() as u64).to_be_bytes());
                    }
                }
                bytes.extend_from_slice(text);
            }
            let expected: Vec<_> = texts.into_iter().map(|text| Incoming::Message(text.into())).collect();
            prop_assert_eq!(run(&bytes, piece).0, expected);
        }
    }
}
